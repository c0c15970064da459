"""Synchronize color and depth without ROS. Depth falls silent after three frames; the sets go on without it."""

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

now_ns = 0


def on_set(frames: FrameSet) -> None:
    print(f"{now_ns / 1e9:.3f} s:", *frames.frames, "- missing:", dict(frames.missing))


synchronizer = FrameSynchronizer(
    ["color", "depth"],  # the first that is not lost leads
    on_set,
    clock=lambda: now_ns,  # on a robot: time.monotonic_ns
    config=SyncConfig(sync_timeout_ns=50_000_000, sensor_timeout_ns=200_000_000),
)

for number in range(1, 11):
    stamp_ns = number * 33_333_333
    now_ns = stamp_ns + 5_000_000  # when the images arrive
    synchronizer.add(Frame("color", stamp_ns, data="your image"))
    if number <= 3:
        synchronizer.add(Frame("depth", stamp_ns, data="your image"))
    for _ in range(5):  # every few milliseconds, as time alone may complete a set
        now_ns += 5_000_000
        synchronizer.poll()

for name, report in synchronizer.report().items():
    print(f"{name}: {report.state.value}, {report.in_complete_sets} in complete sets, {report.in_partial_sets} alone")
