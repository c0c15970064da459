"""Waits and windows that change while frames come: what follows is as if they had always been so."""

from __future__ import annotations

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.sync_config import SyncConfig
from m3l_core.streaming.synchronizer import FrameSynchronizer

MS = 1_000_000
START = 1_700_000_000_000 * MS


class Bench:
    def __init__(self, **config: int) -> None:
        self.now_ns = 0
        self.sets: list[FrameSet] = []
        self.sync = FrameSynchronizer(
            ("color", "depth"), self.sets.append, clock=lambda: self.now_ns, config=SyncConfig(**config)
        )
        self.sync.poll()

    def at(self, time_ms: int) -> None:
        self.now_ns = time_ms * MS
        self.sync.poll()

    def arrive(self, modality: str, stamp_ms: int) -> None:
        self.sync.add(Frame(modality, START + stamp_ms * MS, None))

    def pair(self, time_ms: int, distance_ms: int) -> None:
        self.at(time_ms)
        self.arrive("color", time_ms)
        self.arrive("depth", time_ms + distance_ms)


def test_a_frame_that_waits_leaves_by_the_new_wait() -> None:
    bench = Bench(sync_timeout_ns=10_000 * MS, sensor_timeout_ns=20_000 * MS)
    bench.pair(0, 0)
    bench.at(100)
    bench.arrive("color", 100)
    bench.at(300)
    assert len(bench.sets) == 1
    bench.sync.reconfigure(SyncConfig(sync_timeout_ns=50 * MS, sensor_timeout_ns=20_000 * MS))
    bench.at(301)
    assert len(bench.sets) == 2


def test_a_sensor_is_lost_by_the_new_timeout() -> None:
    bench = Bench(sensor_timeout_ns=20_000 * MS)
    bench.pair(0, 0)
    bench.at(1_000)
    assert bench.sync.report()["depth"].state.value != "LOST"
    bench.sync.reconfigure(SyncConfig(sensor_timeout_ns=500 * MS))
    bench.at(1_001)
    assert bench.sync.report()["depth"].state.value == "LOST"


def test_stamps_match_within_the_new_interval_and_accounts_go_on() -> None:
    bench = Bench(sync_timeout_ns=20 * MS)
    for time_ms in range(0, 1_000, 100):
        bench.pair(time_ms, 30)
        bench.at(time_ms + 50)
    assert not any(frames.complete for frames in bench.sets)
    before = bench.sync.partial_sets
    bench.sync.reconfigure(SyncConfig(sync_timeout_ns=20 * MS, approx_sync_max_interval_ns=40 * MS))
    for time_ms in range(1_000, 2_000, 100):
        bench.pair(time_ms, 30)
        bench.at(time_ms + 50)
    assert all(frames.complete for frames in bench.sets[-9:])
    assert bench.sync.partial_sets - before <= 1
    assert bench.sync.report()["color"].received == 20


def test_used_frames_serve_again_within_the_new_interval() -> None:
    bench = Bench(sync_timeout_ns=20 * MS, sensor_timeout_ns=20_000 * MS)
    bench.sync.reconfigure(
        SyncConfig(sync_timeout_ns=20 * MS, sensor_timeout_ns=20_000 * MS, reuse_interval_ns=150 * MS)
    )
    bench.pair(0, 0)
    bench.at(100)
    bench.arrive("color", 100)
    bench.at(150)
    assert [frames.complete for frames in bench.sets] == [True, True]


def test_the_queue_and_the_offsets_stay_as_they_began() -> None:
    bench = Bench(queue_size=7)
    bench.sync.reconfigure(SyncConfig(queue_size=3, stamp_offsets_ns={"depth": 5}))
    assert bench.sync.config.queue_size == 7
    assert not bench.sync.config.stamp_offsets_ns
