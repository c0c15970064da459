"""What each fault does to a stream of messages, and what no fault ever does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from m3l_core.bags.arrivals import Arrival
from m3l_core.replay.faults.fault import Fault, Run
from m3l_core.replay.faults.scenario import AnyFault

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
RUN = Run(START_NS, seed=5, key=(0, 0))
ADAPTER: TypeAdapter[Fault] = TypeAdapter(AnyFault)

SHARES, DELAYS = st.floats(0, 1), st.floats(0, 5)
AMOUNTS: dict[str, dict[str, Any]] = {
    "gone": {},
    "loss": {"probability": SHARES},
    "delay": {"delay_s": DELAYS},
    "reorder": {"probability": SHARES, "delay_s": DELAYS},
    "duplicate": {"probability": SHARES, "delay_s": DELAYS},
    "jitter": {"arrival_s": DELAYS, "stamp_s": DELAYS},
    "clock_offset": {"offset_s": st.floats(-2e9, 2e9)},
    "frozen": {},
    "rate": {"rate_hz": st.floats(0.1, 100)},
    "black": {},
    "saturated": {},
    "depth_holes": {"share": SHARES},
    "depth_noise": {"sigma": SHARES},
    "resolution": {"scale": st.floats(0.01, 4)},
    "random_missing": {"zero_rate": SHARES},
    "noisy": {"salt_pepper": SHARES, "sigma": st.floats(0, 10)},
}
OF_ONE = {"black": "color", "saturated": "color", "depth_holes": "depth", "depth_noise": "depth"}


def whole_ms(least_s: int, most_s: int) -> st.SearchStrategy[float]:
    return st.integers(1000 * least_s, 1000 * most_s).map(lambda milliseconds: milliseconds / 1000)


INTERVALS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"from_s": whole_ms(0, 3), "until_s": whole_ms(4, 9)}),
    st.fixed_dictionaries({"from_s": whole_ms(0, 3), "every_s": whole_ms(2, 3), "for_s": whole_ms(1, 2)}),
)
MESSAGE_FAULTS = st.sampled_from(sorted(AMOUNTS)).flatmap(
    lambda kind: st.builds(
        lambda interval, amounts, modality, chance: fault(
            kind, **interval, **({"probability": chance} | amounts), modality=OF_ONE.get(kind, modality)
        ),
        INTERVALS,
        st.fixed_dictionaries(AMOUNTS[kind]),
        st.sampled_from(["color", "depth", "all"]),
        SHARES,
    )
)
LOOPS = st.builds(
    lambda begin, length, times: fault("bag_loop", from_s=begin, length_s=length, times=times),
    whole_ms(0, 3),
    st.floats(0.1, 9),
    st.integers(2, 4),
)


def fault(kind: str, **settings_: Any) -> Fault:
    return ADAPTER.validate_python({"kind": kind, **settings_})


def arrivals(num_instants: int, period_ms: int = 100) -> list[Arrival]:
    return list(islice(endless(period_ms), 2 * num_instants))


def endless(period_ms: int = 100) -> Iterator[Arrival]:
    """Color and depth of the same stamps, which arrive 3 and 5 ms later."""
    for number in count():
        stamp = START_NS + number * period_ms * MS
        yield Arrival(stamp + 3 * MS, "color", f"color {number}", stamp)
        yield Arrival(stamp + 5 * MS, "depth", f"depth {number}", stamp)


@st.composite
def any_arrivals(draw: st.DrawFn) -> list[Arrival]:
    """In order of their time, with stamps of any order, some of them zero."""
    events = draw(st.lists(st.tuples(st.integers(0, 8000), st.sampled_from(["color", "depth"]), st.integers(0, 9000))))
    return [
        Arrival(START_NS + at * MS, modality, f"{modality} {number}", START_NS + stamp * MS if stamp else 0)
        for number, (at, modality, stamp) in enumerate(sorted(events))
    ]


def after(which: Fault, given_: Iterable[Arrival], run: Run = RUN) -> list[Arrival]:
    return list(which.apply(given_, run))


def facts(found: Iterable[Arrival]) -> list[tuple[Any, ...]]:
    """Of arrivals: all but the edits, which are seen by what they do."""
    image = {
        "color": np.arange(90, dtype=np.uint8).reshape(5, 6, 3),
        "depth": np.arange(30, dtype=np.uint16).reshape(5, 6),
    }
    return [
        (a.time_ns, a.message, a.stamp_ns, tuple(edit(image[a.modality]).tobytes() for edit in a.edits)) for a in found
    ]


def stamps_s(found: Iterable[Arrival], modality: str) -> list[float]:
    return [(a.stamp_ns - START_NS) / 1e9 for a in found if a.modality == modality]


def late_ms(found: Iterable[Arrival]) -> dict[str, float]:
    """Message -> how much later than its stamp it arrives, without the 3 and 5 ms that every one takes."""
    return {a.message: (a.time_ns - a.stamp_ns) / MS - (3 if a.modality == "color" else 5) for a in found}


# What no fault ever does.


@settings(max_examples=300, deadline=None)
@given(st.one_of(MESSAGE_FAULTS, LOOPS), any_arrivals())
def test_arrivals_stay_in_order_and_none_is_invented(which: Any, recorded: list[Arrival]) -> None:
    found = after(which, recorded)
    times = [a.time_ns for a in found]
    assert times == sorted(times)
    most = {"duplicate": 2, "bag_loop": getattr(which, "times", 1)}.get(which.kind, 1)
    if which.kind == "frozen":
        assert [a.stamp_ns for a in found] == [a.stamp_ns for a in recorded]
    elif most == 1:
        assert not Counter(a.message for a in found) - Counter(a.message for a in recorded)
    else:
        assert set(Counter(a.message for a in found).values()) <= {1, most}
        assert {a.message for a in found} == {a.message for a in recorded}


@settings(max_examples=300, deadline=None)
@given(MESSAGE_FAULTS, any_arrivals())
def test_nothing_changes_outside_the_interval_and_the_modality(which: Any, recorded: list[Arrival]) -> None:
    def is_meant(arrival: Arrival) -> bool:
        since_ms = (arrival.time_ns - START_NS) // MS
        begin_ms = round(1000 * which.from_s)
        inside = begin_ms <= since_ms < (round(1000 * which.until_s) if which.until_s else np.inf)
        if which.every_s is not None:
            inside = inside and (since_ms - begin_ms) % round(1000 * which.every_s) < round(1000 * which.for_s)
        return which.modality in ("all", arrival.modality) and inside

    untouched = [id(a) for a in recorded if not is_meant(a)]
    found = {id(a) for a in after(which, recorded)}
    assert set(untouched) <= found


@settings(max_examples=150, deadline=None)
@given(st.one_of(MESSAGE_FAULTS, LOOPS), any_arrivals())
def test_the_same_seed_gives_the_same(which: Fault, recorded: list[Arrival]) -> None:
    assert facts(after(which, recorded)) == facts(after(which, iter(recorded)))


@settings(max_examples=150, deadline=None)
@given(MESSAGE_FAULTS, any_arrivals())
def test_a_probability_of_zero_changes_nothing(which: Any, recorded: list[Arrival]) -> None:
    never = which.model_copy(update={"probability": 0.0})
    assert [id(a) for a in after(never, recorded)] == [id(a) for a in recorded]


@pytest.mark.parametrize("kind", [*AMOUNTS, "bag_loop"])
def test_little_of_an_endless_recording_is_held(kind: str) -> None:
    amounts = {"delay_s": 1.0, "arrival_s": 1.0, "offset_s": 1.0, "share": 0.5, "sigma": 0.5, "scale": 0.5}
    amounts |= {"probability": 0.5, "rate_hz": 5.0, "zero_rate": 0.5, "salt_pepper": 0.5, "length_s": 1.0}
    names = AMOUNTS.get(kind, {"length_s": None})
    num_read = 0

    def recorded() -> Iterator[Arrival]:
        nonlocal num_read
        for arrival in endless():
            num_read += 1
            yield arrival

    which = fault(kind, **{name: amounts[name] for name in names if name in amounts})
    if kind == "gone":
        which = fault("gone", every_s=1.0, for_s=0.5)
    for number, _ in enumerate(islice(which.apply(recorded(), RUN), 300), 1):
        # No delay is above a second, of 20 messages; half of them may be dropped.
        assert num_read <= 2.5 * number + 25


# What each fault does.


def test_a_sensor_is_gone_for_an_interval() -> None:
    found = after(fault("gone", modality="color", from_s=1.0, until_s=2.0), arrivals(30))
    assert stamps_s(found, "color") == [number / 10 for number in range(30) if not 10 <= number < 20]
    assert len(stamps_s(found, "depth")) == 30


def test_a_sensor_comes_and_goes() -> None:
    found = after(fault("gone", modality="depth", from_s=0.5, every_s=1.0, for_s=0.3), arrivals(30))
    assert stamps_s(found, "depth") == [number / 10 for number in range(30) if number < 5 or (number - 5) % 10 >= 3]


def test_an_interval_holds_its_first_moment_and_not_its_last() -> None:
    """Color arrives 3 ms after its stamp, by when it counts."""
    once = after(fault("gone", from_s=0.203, until_s=0.403, modality="color"), arrivals(6))
    assert stamps_s(once, "color") == [0.0, 0.1, 0.4, 0.5]
    often = after(fault("gone", from_s=0.103, every_s=0.3, for_s=0.1, modality="color"), arrivals(8))
    assert stamps_s(often, "color") == [0.0, 0.2, 0.3, 0.5, 0.6]


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_what_is_not_late_is_not_held(probability: float) -> None:
    """Neither where nothing is struck nor where it is, and what arrives at once stays in its order."""
    which = fault("clock_offset", offset_s=1.0, probability=probability)
    at_once = [Arrival(START_NS, "color", f"color {number}", START_NS) for number in range(20)]
    num_read = 0

    def recorded() -> Iterator[Arrival]:
        nonlocal num_read
        for arrival in at_once:
            num_read += 1
            yield arrival

    for number, arrival in enumerate(which.apply(recorded(), RUN)):
        assert (num_read, arrival.message) == (number + 1, f"color {number}")


def test_the_share_of_lost_messages_is_the_probability() -> None:
    found = after(fault("loss", probability=0.3), arrivals(2000))
    assert len(found) / 4000 == pytest.approx(0.7, abs=0.03)


def test_a_delay_is_the_same_for_all_and_leaves_the_stamps() -> None:
    recorded = arrivals(20)
    found = after(fault("delay", modality="depth", delay_s=0.25), recorded)
    late = late_ms(found)
    assert {late[a.message] for a in recorded if a.modality == "depth"} == {250}
    assert {late[a.message] for a in recorded if a.modality == "color"} == {0}
    first = [a.message for a in found][:8]
    assert first == ["color 0", "color 1", "color 2", "depth 0", "color 3", "depth 1", "color 4", "depth 2"]


def test_what_is_sent_after_a_delay_ends_overtakes() -> None:
    found = after(fault("delay", delay_s=0.25, until_s=1.0), arrivals(20))
    assert late_ms(found)["color 10"] == 0
    order = [a.message for a in found]
    assert order.index("color 10") < order.index("color 9")


def test_jitter_stays_within_its_bounds_and_fills_them() -> None:
    recorded = arrivals(500)
    found = {a.message: a for a in after(fault("jitter", arrival_s=0.05, stamp_s=0.01), recorded)}
    late = np.array([found[a.message].time_ns - a.time_ns for a in recorded]) / 1e9
    off = np.array([found[a.message].stamp_ns - a.stamp_ns for a in recorded]) / 1e9
    assert 0 <= late.min() < 0.001 < 0.049 < late.max() <= 0.05
    assert -0.01 <= off.min() < -0.0099 < 0.0099 < off.max() <= 0.01
    assert abs(np.corrcoef(late, off)[0, 1]) < 0.15


def test_jitter_of_one_kind_leaves_the_other() -> None:
    recorded = arrivals(20)
    assert [a.stamp_ns for a in after(fault("jitter", arrival_s=0.01), recorded)] == [a.stamp_ns for a in recorded]
    assert [a.time_ns for a in after(fault("jitter", stamp_s=0.01), recorded)] == [a.time_ns for a in recorded]


@pytest.mark.parametrize("offset_s", [-0.5, 0.5])
def test_a_clock_is_off(offset_s: float) -> None:
    recorded = arrivals(5)
    found = after(fault("clock_offset", modality="depth", offset_s=offset_s), recorded)
    assert stamps_s(found, "depth") == pytest.approx([number / 10 + offset_s for number in range(5)])
    assert stamps_s(found, "color") == pytest.approx([number / 10 for number in range(5)])
    assert [a.time_ns for a in found] == [a.time_ns for a in recorded]


def test_a_driver_without_a_clock_has_none_that_is_off() -> None:
    unstamped = Arrival(START_NS, "color", "message", 0)
    for which in (fault("clock_offset", offset_s=1.0), fault("jitter", stamp_s=1.0)):
        assert after(which, [unstamped])[0].stamp_ns == 0


def test_a_frozen_driver_repeats_its_last_image_under_new_stamps() -> None:
    recorded = arrivals(10)
    found = after(fault("frozen", modality="color", from_s=0.3, until_s=0.6), recorded)
    assert [a.message for a in found if a.modality == "color"] == [f"color {n}" for n in (0, 1, 2, 2, 2, 2, 6, 7, 8, 9)]
    assert [(a.time_ns, a.stamp_ns) for a in found] == [(a.time_ns, a.stamp_ns) for a in recorded]


def test_a_driver_that_is_frozen_from_the_start_repeats_its_first_image() -> None:
    assert {a.message for a in after(fault("frozen"), arrivals(10))} == {"color 0", "depth 0"}


def test_a_frozen_image_keeps_the_damage_it_had() -> None:
    damaged = after(fault("noisy", salt_pepper=0.3, sigma=0.5), arrivals(4))
    images = [edits for *_, edits in facts(after(fault("frozen", modality="color"), damaged))]
    assert (len(set(images[::2])), len(set(images[1::2]))) == (1, 4)


@pytest.mark.parametrize(("rate_hz", "kept"), [(5.0, 2), (2.5, 4), (2.0, 5), (10.0, 1), (30.0, 1)])
def test_a_lower_rate_keeps_instants_whole_although_stamps_jitter(rate_hz: float, kept: int) -> None:
    recorded = after(fault("jitter", stamp_s=0.003), arrivals(100))
    found = after(fault("rate", rate_hz=rate_hz), recorded)
    numbers = [[int(a.message.split()[1]) for a in found if a.modality == name] for name in ("color", "depth")]
    assert numbers[0] == numbers[1] == list(range(0, 100, kept))


def test_a_rate_that_is_no_divisor_is_met_on_average() -> None:
    found = after(fault("rate", rate_hz=12.0), arrivals(300, period_ms=33))
    assert len(found) / 2 / (300 * 0.033) == pytest.approx(12, rel=0.02)


def test_a_rate_goes_on_where_the_stamps_start_over() -> None:
    looped = after(fault("bag_loop", length_s=1.0, times=3), arrivals(10))
    found = after(fault("rate", rate_hz=2.0), looped)
    assert [a.message for a in found] == [f"{name} {number}" for number in (0, 5) for name in ("color", "depth")] * 3


def test_some_messages_are_overtaken() -> None:
    recorded = arrivals(300)
    found = [a.message for a in after(fault("reorder", modality="color", probability=0.1), recorded)]
    assert sorted(found) == sorted(a.message for a in recorded)
    color = [int(message.split()[1]) for message in found if message.startswith("color")]
    assert 10 < sum(one > other for one, other in pairwise(color)) < 50
    assert [message for message in found if message.startswith("depth")] == [f"depth {n}" for n in range(300)]


def test_a_second_copy_follows_the_first() -> None:
    recorded = arrivals(300)
    found = after(fault("duplicate", probability=0.2, delay_s=0.03), recorded)
    copies = Counter(a.message for a in found)
    assert sum(copies.values()) / len(recorded) == pytest.approx(1.2, abs=0.05)
    for message in [message for message, number in copies.items() if number == 2]:
        first, second = (a for a in found if a.message == message)
        assert (second.time_ns - first.time_ns, second.stamp_ns - first.stamp_ns) == (30 * MS, 0)


def test_a_looped_part_is_played_again_and_the_recording_goes_on() -> None:
    recorded = arrivals(10)
    found = after(fault("bag_loop", from_s=0.2, length_s=0.3, times=3), recorded)
    numbers = [0, 1, *[2, 3, 4] * 3, 5, 6, 7, 8, 9]
    assert [a.message for a in found] == [f"{name} {n}" for n in numbers for name in ("color", "depth")]
    # The clock goes on as if nothing had happened, the stamps start over.
    assert [a.time_ns for a in found] == [a.time_ns for a in arrivals(len(numbers))]
    assert stamps_s(found, "color") == [number / 10 for number in numbers]


def test_a_part_holds_its_first_moment_and_not_its_last() -> None:
    found = after(fault("bag_loop", from_s=0.103, length_s=0.2), arrivals(5))  # color arrives 3 ms after its stamp
    numbers = [0, *[1, 2] * 2, 3, 4]
    assert [a.message for a in found] == [f"{name} {n}" for n in numbers for name in ("color", "depth")]


def test_a_recording_shorter_than_the_part_is_looped_as_a_whole() -> None:
    recorded = arrivals(10)
    found = after(fault("bag_loop", length_s=9.0, times=2), recorded)
    assert [a.message for a in found] == [a.message for a in recorded] * 2
    assert found[20].time_ns == found[19].time_ns
    assert after(fault("bag_loop", length_s=9.0), []) == []


def test_another_message_seed_or_key_draws_otherwise() -> None:
    recorded, which = arrivals(50), fault("jitter", arrival_s=1.0)
    runs = [RUN, Run(START_NS, 6, (0, 0)), Run(START_NS, 5, (1, 0)), Run(START_NS, 5, (0, 1))]
    found = {tuple(late_ms(after(which, recorded, run)).values()) for run in runs}
    assert len(found) == 4
    assert len(set(late_ms(after(which, recorded)).values())) == 100


@pytest.mark.parametrize(
    ("kind", "setting", "possible", "impossible"),
    [
        ("loss", "probability", (0.0, 1.0), (-1e-9, 1.001)),
        ("gone", "from_s", (0.0, 1e9), (-1e-9, 1e9 + 1)),
        ("gone", "every_s", (0.001, 1e9), (0.0009, 1e9 + 1)),
        ("delay", "delay_s", (0.0, 5.0), (-1e-9, 5.001)),
        ("clock_offset", "offset_s", (-2e9, 2e9), (-2e9 - 1, 2e9 + 1)),
        ("rate", "rate_hz", (0.001, 1000.0), (0.0009, 1000.1)),
        ("resolution", "scale", (0.01, 4.0), (0.009, 4.001)),
        ("depth_holes", "share", (0.0, 1.0), (-1e-9, 1.001)),
        ("noisy", "sigma", (0.0, 10.0), (-1e-9, 10.001)),
        ("bag_loop", "length_s", (1e-9, 10.0), (0.0, 10.001)),
    ],
)
def test_settings_reach_to_their_limits(
    kind: str, setting: str, possible: tuple[float, ...], impossible: tuple[float, ...]
) -> None:
    also = {"every_s": {"for_s": 0.001}, "sigma": {"salt_pepper": 0.1}}.get(setting, {})
    for value in possible:
        assert getattr(fault(kind, **also, **{setting: value}), setting) == value
    for value in impossible:
        with pytest.raises(ValidationError, match=f"{setting}\n  Input should be"):
            fault(kind, **also, **{setting: value})


def test_settings_cannot_change() -> None:
    which: Any = fault("gone")
    with pytest.raises(ValidationError, match="frozen"):
        which.from_s = 2.0


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"kind": "loss"}, "probability\n  Field required"),
        ({"kind": "loss", "probability": 1.1}, "less than or equal to 1"),
        ({"kind": "loss", "probability": "0.5"}, "valid number"),
        ({"kind": "loss", "probability": True}, "valid number"),
        ({"kind": "delay", "delay_s": -1.0}, "greater than or equal to 0"),
        ({"kind": "delay", "delay_s": 6.0}, "less than or equal to 5"),
        ({"kind": "jitter"}, "arrival_s, stamp_s or both"),
        ({"kind": "clock_offset", "offset_s": float("nan")}, "finite number"),
        ({"kind": "gone", "from_s": 2.0, "until_s": 2.0}, r"until_s \(2\) must be above from_s \(2\)"),
        ({"kind": "gone", "every_s": 2.0}, "every_s and for_s belong together"),
        ({"kind": "gone", "every_s": 2.0, "for_s": 3.0}, r"for_s \(3\) must not be above every_s \(2\)"),
        ({"kind": "gone", "every_s": 0.0, "for_s": 0.0}, "greater than or equal to 0.001"),
        ({"kind": "black", "modality": "depth"}, "'color'"),
        ({"kind": "depth_holes", "share": 0.1, "modality": "color"}, "'depth'"),
        ({"kind": "rate", "rate_hz": 0.0}, "greater than or equal to 0.001"),
        ({"kind": "bag_loop", "length_s": 11.0}, "less than or equal to 10"),
        ({"kind": "bag_loop", "length_s": 1.0, "times": 1}, "greater than or equal to 2"),
        ({"kind": "resolution", "scale": 0.0}, "greater than or equal to 0.01"),
        ({"kind": "noisy", "salt_pepper": 0.1}, "sigma\n  Field required"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        ADAPTER.validate_python(wrong)
