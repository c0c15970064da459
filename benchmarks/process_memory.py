"""What the benchmarks say of memory."""

from __future__ import annotations

from pathlib import Path


def peak_memory_mib() -> float:
    """The most that this program ever had in memory (Linux).

    ``resource.getrusage`` would count the process that started it as well.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
