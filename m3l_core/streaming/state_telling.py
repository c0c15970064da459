"""When a change of a modality's state is worth a line."""

from __future__ import annotations

QUIET_NS = 3_000_000_000
"""A modality's changes are told once in so long, however many there are."""


class StateTelling:
    """Tells the first change at once, then none for ``QUIET_NS`` but the loss, and then how many were left out.

    A sensor at the edge of a threshold changes its state with every frame.
    """

    def __init__(self) -> None:
        self.untold = 0
        """Changes since the last line."""
        self._quiet_until_ns = 0
        self._told_loss = False

    def due_ns(self, lost: bool) -> int:
        """From when on ``untold`` changes are to be told; ``lost`` is what the state is now."""
        return 0 if lost and not self._told_loss else self._quiet_until_ns

    def tell(self, lost: bool, now_ns: int) -> str:
        """What to add to the line that tells the present state, which is due."""
        left_out, self.untold = self.untold - 1, 0
        self._quiet_until_ns, self._told_loss = now_ns + QUIET_NS, lost
        return f" (after {left_out} more change{'s' * (left_out > 1)})" if left_out else ""

    def forget(self, now_ns: int) -> None:
        """The clock may have gone back."""
        self._quiet_until_ns = min(self._quiet_until_ns, now_ns + QUIET_NS)
