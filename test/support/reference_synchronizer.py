"""The rules of the synchronizer, slowly: plain lists, everything worked out anew each time, nothing remembered twice.

It is asked at every millisecond, so it needs no deadlines. All times are nanoseconds, as whole milliseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median_low

from m3l_core.frames import Frame, FrameSet
from m3l_core.streaming.sync_config import SyncConfig

MS = 1_000_000
MEMORY = 5_000 * MS
"""Stamps that have leapt to and fro make the next leap suspicious for so long."""
FOLLOWERS = 3


@dataclass
class Entry:
    """A frame that waits, or the place of a worthless one."""

    stamp: int
    arrival: int
    frame: Frame
    worthless: str = ""


@dataclass
class Leap:
    """Stamps beside the timeline that go on from each other."""

    stamp: int
    arrival: int
    number: int


@dataclass
class Sensor:
    name: str
    healthy_since: int
    waiting: list[Entry] = field(default_factory=list)
    used: Entry | None = None
    reason: str = ""
    unhealthy_stamp: int | None = None
    late_since: int | None = None
    newest: int | None = None
    newest_arrival: int = 0
    unsettled: bool = False
    distances: list[int] = field(default_factory=list)
    arrival_distances: list[int] = field(default_factory=list)
    period: int | None = None
    pace: int | None = None
    skew: int | None = None
    soonest: int = 0
    leaps: list[Leap] = field(default_factory=list)
    leap_gap: int = 0
    left: tuple[int, int] | None = None
    conflict: int | None = None
    gap: int = 0
    before: tuple[int, int, int] | None = None
    received: int = 0
    reused: int = 0
    in_sets: Counter[bool] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: str, entries: list[Entry]) -> None:
        self.waiting = [entry for entry in self.waiting if entry not in entries]
        self.dropped[reason] += sum(not entry.worthless for entry in entries)

    def has(self, stamp: int) -> bool:
        healthy = [entry for entry in self.waiting if not entry.worthless]
        return any(entry.stamp == stamp for entry in [*healthy, *([self.used] if self.used else [])])

    def contested(self, now: int) -> bool:
        return self.conflict is not None and now - self.conflict < MEMORY


class ReferenceSynchronizer:
    def __init__(self, names: list[str], config: SyncConfig, now: int) -> None:
        self.config, self.now = config, now
        self.sensors = {name: Sensor(name, now) for name in names}
        self.leader: Sensor | None = None
        self.last_set: int | None = None
        self.resets = 0
        self.sets: list[tuple[int, FrameSet]] = []

    def arrive(self, frame: Frame, unhealthy: str | None) -> None:
        """A frame, now; ``pass_to`` has been called."""
        sensor = self.sensors[frame.modality]
        sensor.received += 1
        entry = self.accept(sensor, frame, unhealthy)
        if entry is not None and self.in_time(sensor, entry):
            replaced = [each for each in sensor.waiting if each.stamp == entry.stamp]
            kept = [each for each in sensor.waiting if each not in replaced]
            sensor.waiting = sorted([*kept, entry], key=lambda each: each.stamp)
            if len(sensor.waiting) > self.config.queue_size and sensor is not self.reference():
                sensor.leave_out("overflow", sensor.waiting[:1])
        self.let_leave()

    def pass_to(self, now: int) -> None:
        if now < self.now:
            self.now = now
            self.reset()
        while self.now < now:
            # While nothing waits, only the last moment counts.
            self.now = self.now + MS if any(each.waiting for each in self.sensors.values()) else now
            self.let_leave()
        self.let_leave()

    # Who leads

    def lost(self, sensor: Sensor) -> bool:
        return self.now - sensor.healthy_since >= max(self.config.sensor_timeout_ns, 3 * (sensor.pace or 0))

    def reference(self) -> Sensor | None:
        return next((each for each in self.sensors.values() if not self.lost(each)), None)

    # Which frames are believed

    def accept(self, sensor: Sensor, frame: Frame, unhealthy: str | None) -> Entry | None:
        stamp = frame.stamp_ns + self.config.stamp_offsets_ns.get(sensor.name, 0)
        if frame.stamp_ns <= 0:
            unhealthy = unhealthy or "its stamp is zero"
        if unhealthy:
            sensor.reason, sensor.unhealthy_stamp = unhealthy, stamp
            sensor.dropped["unhealthy"] += 1
            leads = frame.stamp_ns > 0 and sensor is self.reference() and not sensor.has(stamp)
            return Entry(stamp, self.now, frame, unhealthy) if leads else None
        if (jump := self.jump(sensor, stamp)) and not self.believed(sensor, stamp, jump):
            sensor.dropped["leap"] += 1
            return None
        if sensor.has(stamp):
            sensor.dropped["duplicate"] += 1
            return None
        self.observe(sensor, stamp)
        return Entry(stamp, self.now, frame)

    def lead(self, sensor: Sensor) -> int:
        """By how much stamps may run ahead of the clock."""
        return max(2 * (sensor.period or 0), self.config.sync_timeout_ns)

    def jump(self, sensor: Sensor, stamp: int) -> int:
        if sensor.newest is None:
            return 0
        distance, lead = stamp - sensor.newest, self.lead(sensor)
        if sensor.period and sensor.contested(self.now) and sensor.gap <= lead:
            lead = sensor.period // 2  # another publisher is only a little ahead
        ahead = distance > 0 and stamp - self.now - sensor.soonest > lead
        return distance if ahead or distance < -self.config.reset_interval_ns else 0

    def goes_on(self, sensor: Sensor, former: int, arrival: int, stamp: int) -> bool:
        return former < stamp <= former + self.now - arrival + self.lead(sensor)

    def believed(self, sensor: Sensor, stamp: int, jump: int) -> bool:
        """One frame is enough for a return to the timeline before; where no second publisher is suspected also for a
        jump back, for a modality that is LOST, and for the first after a reset. All others take FOLLOWERS."""
        if sensor.left is not None and self.now - sensor.left[1] < MEMORY and self.goes_on(sensor, *sensor.left, stamp):
            sensor.left, sensor.leap_gap = None, stamp - (sensor.newest or 0)
            self.end_leaps(sensor)
            sensor.unsettled = True
            self.reset()
            return True
        back = jump < 0 and not sensor.unsettled
        nobody_leaps = not any(each.contested(self.now) for each in self.sensors.values())
        at_once = sensor.unsettled or self.lost(sensor) or (back and nobody_leaps)
        if sensor.contested(self.now) or not at_once:
            if not self.followed(sensor, stamp, jump):
                return False
        elif back and sensor.newest is not None:
            sensor.left = sensor.newest, sensor.newest_arrival
        sensor.unsettled = True
        if back:
            self.reset()
        return True

    def followed(self, sensor: Sensor, stamp: int, gap: int) -> bool:
        """Whether this is the last of FOLLOWERS leaps; the last two timelines of leaps are kept."""
        former = next((each for each in sensor.leaps if self.goes_on(sensor, each.stamp, each.arrival, stamp)), None)
        others = [each for each in sensor.leaps if each is not former]
        number = former.number + 1 if former else 1
        sensor.leaps = [*others[-1:], Leap(stamp, self.now, number)]
        sensor.leap_gap = abs(gap)
        if number >= FOLLOWERS:
            self.end_leaps(sensor)
        return number >= FOLLOWERS

    def end_leaps(self, sensor: Sensor) -> None:
        sensor.leaps = []
        if sensor.leap_gap:
            sensor.conflict, sensor.gap = self.now, sensor.leap_gap

    def doubt(self, sensor: Sensor, stamp: int) -> None:
        """A frame that came half a period too soon was a stranger's if one comes that goes on from those before it."""
        before, sensor.before = sensor.before, None
        if sensor.newest is None or sensor.period is None or sensor.unsettled:
            return
        if before and self.now - before[1] <= 3 * sensor.period:
            if before[0] < stamp < sensor.newest:
                sensor.leap_gap = sensor.newest - stamp
                sensor.newest, sensor.newest_arrival, sensor.soonest = before
                self.end_leaps(sensor)
            else:
                sensor.before = before
        elif stamp - self.now - sensor.soonest > sensor.period // 2:
            sensor.before = sensor.newest, sensor.newest_arrival, sensor.soonest

    def observe(self, sensor: Sensor, stamp: int) -> None:
        sensor.healthy_since, sensor.unhealthy_stamp = self.now, None
        self.doubt(sensor, stamp)
        skew = stamp - self.now
        if sensor.skew is None or skew >= sensor.soonest:
            sensor.soonest = skew
        else:
            sensor.soonest -= (sensor.soonest - skew) // 32
        sensor.skew = skew if sensor.skew is None else sensor.skew + (skew - sensor.skew) // 8
        if sensor.newest is not None and not sensor.unsettled:
            if stamp <= sensor.newest:
                return
            sensor.distances.append(stamp - sensor.newest)
            if self.now > sensor.newest_arrival:
                sensor.arrival_distances.append(self.now - sensor.newest_arrival)
            sensor.pace = max(median_low(each[-9:] or [0]) for each in (sensor.distances, sensor.arrival_distances))
            if len(sensor.distances) >= 3:
                sensor.period = median_low(sensor.distances[-9:])
        sensor.newest, sensor.newest_arrival, sensor.unsettled = stamp, self.now, False
        if sensor.leaps:
            self.end_leaps(sensor)

    def in_time(self, sensor: Sensor, entry: Entry) -> bool:
        behind = 0 if self.last_set is None else self.last_set - entry.stamp
        if self.last_set is None or (entry.worthless and behind < 0):
            return True
        if entry.worthless:
            return False
        if sensor is not self.reference():
            late = behind > self.config.approx_sync_max_interval_ns
        elif behind < 0:
            late, sensor.late_since = False, None
        else:
            sensor.late_since = self.now if sensor.late_since is None else sensor.late_since
            loops = sensor.newest is not None and entry.stamp < sensor.newest and self.followed(sensor, entry.stamp, 0)
            waited = self.now - sensor.late_since >= self.config.sensor_timeout_ns
            late = not (loops or waited or behind > self.config.reset_interval_ns)
            if not late:
                self.reset()
                self.observe(sensor, entry.stamp)
        sensor.dropped["late"] += late
        return not late

    def reset(self) -> None:
        self.resets += 1
        self.last_set = None
        for each in self.sensors.values():
            each.leave_out("reset", each.waiting)
            each.used = each.unhealthy_stamp = each.late_since = each.skew = None
            each.distances, each.arrival_distances, each.leaps = [], [], []
            each.unsettled = each.newest is not None
            each.healthy_since = min(each.healthy_since, self.now)
            if each.conflict is not None and each.conflict > self.now:
                each.conflict = None

    # Which sets leave

    def let_leave(self) -> None:
        for each in self.sensors.values():
            if self.lost(each):
                each.late_since = None
        while True:
            if self.leader is None or not self.lost(self.leader) or not self.leader.waiting:
                self.leader = self.reference()
            if self.leader is None:
                return
            if self.last_set is not None:
                passed = [entry for entry in self.leader.waiting if entry.stamp <= self.last_set]
                self.leader.leave_out("superseded", passed)
            if not self.leader.waiting or not self.may_leave(self.leader):
                return
            self.assemble(self.leader, self.leader.waiting.pop(0))

    def may_leave(self, leader: Sensor) -> bool:
        if self.lost(leader) or len(leader.waiting) > self.config.queue_size:
            return True
        others = [each for each in self.sensors.values() if each is not leader and not self.lost(each)]
        for entry, after in zip(leader.waiting, [*leader.waiting[1:], None], strict=True):
            following = after.stamp if after else entry.stamp + leader.period * 5 // 4 if leader.period else None
            if self.now - entry.arrival >= self.config.sync_timeout_ns:
                return True
            if all(self.settled(each, entry.stamp, following) for each in others):
                return True
        return False

    def candidate(self, sensor: Sensor, stamp: int, following: int | None) -> Entry | None:
        """The nearest, the older of two, unless it is nearer to what follows: then the one before."""

        def near(entry: Entry, interval: int) -> bool:
            return abs(entry.stamp - stamp) <= interval

        nearest = min(sensor.waiting, key=lambda entry: (abs(entry.stamp - stamp), entry.stamp), default=None)
        if nearest and following is not None and abs(nearest.stamp - following) < nearest.stamp - stamp:
            older = [entry for entry in sensor.waiting if entry.stamp < nearest.stamp]
            nearest = older[-1] if older else None
        if nearest and (nearest.worthless or not near(nearest, self.config.approx_sync_max_interval_ns)):
            nearest = None
        used = sensor.used
        if self.config.reuse_interval_ns and used and near(used, self.config.reuse_interval_ns):
            return used if not nearest or near(used, abs(nearest.stamp - stamp) - 1) else nearest
        return nearest

    def settled(self, sensor: Sensor, stamp: int, following: int | None) -> bool:
        best = self.candidate(sensor, stamp, following)
        if best is None or sensor.period is None or best.stamp >= stamp or best.stamp != sensor.newest:
            return best is not None
        expected = best.stamp + sensor.period
        return (stamp - best.stamp) - (expected - stamp) <= sensor.period // 4

    def assemble(self, leader: Sensor, leading: Entry) -> None:
        frames: dict[str, Frame] = {}
        missing: dict[str, str] = {}
        fresh = []
        name = leader.name
        following = leader.waiting[0].stamp if leader.waiting else None
        if leading.worthless:
            missing[name] = leading.worthless
            if following is None and leader.period is not None:
                following = leading.stamp + leader.period
        else:
            frames[name], leader.used = leading.frame, leading
            fresh.append(leader)
        for sensor in self.sensors.values():
            if sensor is leader:
                continue
            chosen = self.candidate(sensor, leading.stamp, following)
            if chosen and not frames:
                if chosen is sensor.used or (self.last_set is not None and chosen.stamp <= self.last_set):
                    chosen = None
                else:
                    name, leading = sensor.name, chosen
            if chosen is None:
                missing[sensor.name] = self.why_missing(sensor, leader, leading.stamp)
            else:
                frames[sensor.name] = chosen.frame
                if chosen is sensor.used:
                    sensor.reused += 1
                else:
                    sensor.waiting.remove(chosen)
                    sensor.leave_out("superseded", [each for each in sensor.waiting if each.stamp < chosen.stamp])
                    sensor.used = chosen
                    fresh.append(sensor)
            behind = leading.stamp - self.config.approx_sync_max_interval_ns
            sensor.leave_out("superseded", [each for each in sensor.waiting if each.stamp < behind])
        if frames:
            for sensor in fresh:
                sensor.in_sets[not missing] += 1
            self.last_set = leading.stamp
            self.sets.append((self.now, FrameSet(name, frames, missing)))

    def why_missing(self, sensor: Sensor, leader: Sensor, stamp: int) -> str:
        interval = self.config.approx_sync_max_interval_ns
        if sensor.unhealthy_stamp is not None and abs(sensor.unhealthy_stamp - stamp) <= interval:
            return sensor.reason
        if self.lost(sensor):
            last = f", the last one: {sensor.reason}" if sensor.unhealthy_stamp is not None else ""
            return f"no healthy frame for {(self.now - sensor.healthy_since) / 1e9:.1f} s{last}"
        apart = 0 if leader.skew is None or sensor.skew is None else abs(leader.skew - sensor.skew)
        if apart > interval:
            return f"{leader.name} and {sensor.name} differ by {apart / 1e9:.2f} s"
        return f"no frame within {interval / 1e9:.3f} s"
