"""What the node has counted during a run, told by its diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from m3l_core.replay.measures.measures import ModalityCounts
from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_ros.node_client import NodeStatus

_WHOLE = "segmentation"
_DROPPED = "dropped: "


class Accounts:
    """The difference between two diagnostics of the node.

    Args:
        before: those before the run; empty if the node counts from its begin.
        after: the newest ones.
    """

    def __init__(self, before: Mapping[str, NodeStatus], after: Mapping[str, NodeStatus]) -> None:
        self._before, self._after = before, after

    def of(self, part: str = _WHOLE) -> Counter[str]:
        """Of a modality, or of the whole."""
        counts = _numbers(self._after[part])
        counts.subtract(_numbers(self._before.get(part, NodeStatus())))
        return counts

    @property
    def num_sets(self) -> int:
        whole = self.of()
        return whole["sets complete"] + whole["sets partial"]

    def num_unsettled(self) -> int:
        """Frame sets of which it is still open what becomes of them."""
        whole = self.of()
        return self.num_sets - whole["sets published"] - whole["sets replaced by newer ones"] - whole["errors"]

    def num_waiting(self) -> int:
        """Frames that are in no frame set yet."""
        return sum(_numbers(status)["waiting"] for part, status in self._after.items() if part != _WHOLE)

    def modality(self, name: str, recorded: int, arrived: int, unreadable: int) -> ModalityCounts:
        """What became of the messages of a modality.

        Args:
            name: of the modality.
            recorded: messages in the bag.
            arrived: those that were published.
            unreadable: those of them that are no messages of their type.
        """
        told = self.of(name)
        dropped = Counter({why.removeprefix(_DROPPED): n for why, n in told.items() if why.startswith(_DROPPED)})
        dropped["not a message of its type"] = unreadable
        dropped["lost on the way to the node"] = arrived - told["frames in"]
        dropped["still waiting at the end"] = told["waiting"]
        complete, partial = told["in complete sets"], told["in partial sets"]
        missing = self.num_sets - complete - partial - told["served again"]
        return ModalityCounts(recorded, arrived, complete, partial, +dropped, missing)


def report_of(status: NodeStatus) -> ModalityReport:
    """The report of a modality that its diagnostics were made of, as far as their digits go."""
    values, numbers = status.values, _numbers(status)

    def nanoseconds(key: str) -> int | None:
        return None if values[key] in ("unknown", "never", "never seen") else round(float(values[key]) * 1e9)

    return ModalityReport(
        state=ModalityState(values["state"]),
        age_ns=nanoseconds("age [s]"),
        period_ns=nanoseconds("period of the stamps [s]"),
        rate_hz=float(values["rate [Hz]"]),
        stale_after_ns=nanoseconds("STALE after [s]"),
        lost_after_ns=nanoseconds("LOST after [s]") or 0,
        received=numbers["frames in"],
        in_complete_sets=numbers["in complete sets"],
        in_partial_sets=numbers["in partial sets"],
        dropped={why.removeprefix(_DROPPED): n for why, n in numbers.items() if why.startswith(_DROPPED)},
        waiting=numbers["waiting"],
        reused=numbers["served again"],
        last_reason="" if values["last reason"] == "none" else values["last reason"],
        remark="" if values["remark"] == "none" else values["remark"],
    )


def _numbers(status: NodeStatus) -> Counter[str]:
    return Counter({key: int(value) for key, value in status.values.items() if value.isdecimal()})
