"""The live mode of ``m3l_replay``: recordings played into the running node over DDS, in real time."""
