"""Labels are compared with what there is: the ground truth, the run with all sensors, the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import BundleDescription
from m3l_core.errors import DatasetError
from m3l_core.frames import FrameSet
from m3l_core.replay.label_images import LabelImages
from m3l_core.replay.measures.label_scores import LabelScores, resized
from m3l_core.replay.measures.worst_frames import WorstFrame, WorstFrames, draw

Yardstick = Literal["accuracy", "agreement", "consistency"]
"""Share of pixels labelled as in the ground truth, by the run with all sensors, in the frame before."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Which frame set of a recording it is."""

    since_start_ns: int
    """When it left the synchronizer."""
    recorded_stamp_ns: int
    """Of its reference frame."""
    within_ns: int
    """Labels so near to that stamp belong to it."""
    edited: bool
    """Whether a fault has befallen its reference frame."""


class Comparisons:
    """Scores of one run, and the frames that do worst by the first ``Yardstick`` that there is.

    Args:
        bag: name of the bag.
        described: classes and modalities.
        truth: ground truth by stamp.
        full: the labels of the run with all sensors, by stamp.
    """

    def __init__(
        self, bag: str, described: BundleDescription, truth: LabelImages | None, full: LabelImages | None
    ) -> None:
        self.scores = LabelScores(len(described.labels))
        self.worst = WorstFrames()
        self.worst_by: Yardstick = (
            "accuracy" if truth is not None else "agreement" if full is not None else "consistency"
        )
        self._bag, self._described, self._truth, self._full = bag, described, truth, full
        self._previous: tuple[int, NDArray[np.uint8]] | None = None

    def add(self, frame_set: FrameSet, ids: NDArray[np.uint8], moment: Moment) -> NDArray[np.uint8] | None:
        """Compare the labels of a frame set, at the size of what they are compared with.

        Returns:
            Its ground truth, if there is one.

        Raises:
            DatasetError: ground truth and color differ in size.
        """
        self.scores.count(ids)
        share, reference = self._with_previous(frame_set.reference_frame.stamp_ns, ids)
        if self._full is not None:
            share, reference = self._with_full(self._full, ids, moment)
        truth = None
        if self._truth is not None:
            share, reference = self._with_truth(self._truth, frame_set, ids, moment)
            truth = reference
        if share is None or reference is None or not self.worst.wants(share, moment.since_start_ns):
            return truth
        missing = tuple(sorted(frame_set.missing))
        jpeg = draw(frame_set, self._described.modalities, self._described.labels, ids, reference)
        stamp_ns = moment.recorded_stamp_ns
        self.worst.add(WorstFrame(share, self._bag, moment.since_start_ns, stamp_ns, missing, jpeg))
        return truth

    def _with_previous(self, stamp_ns: int, ids: NDArray[np.uint8]) -> _Compared:
        former, self._previous = self._previous, (stamp_ns, ids)
        if former is None:
            return None, None
        return self.scores.compare_with_previous(ids, former[1], stamp_ns - former[0]), former[1]

    def _with_full(self, full: LabelImages, ids: NDArray[np.uint8], moment: Moment) -> _Compared:
        found = full.nearest(moment.recorded_stamp_ns, moment.within_ns)
        if found is None:
            return None, None
        return self.scores.compare_with_full(resized(ids, found.size), found.ids), found.ids

    def _with_truth(self, truth: LabelImages, frame_set: FrameSet, ids: NDArray[np.uint8], moment: Moment) -> _Compared:
        found = truth.nearest(moment.recorded_stamp_ns, moment.within_ns)
        if found is None:
            return None, None
        # Depth may be recorded in another size than color, and a fault may change the size: then labels are scaled.
        if ids.shape != found.size and frame_set.reference == "color" and not moment.edited:
            raise DatasetError(
                f"bag {self._bag}, stamp {found.stamp_ns}: the ground truth is {pixels(found.size)}, the color image "
                f"{pixels(ids.shape)}: expected labels of the images as they were recorded"
            )
        return self.scores.compare_with_truth(resized(ids, found.size), found.ids), found.ids


_Compared = tuple[float | None, NDArray[np.uint8] | None]
"""Share of pixels labelled alike, and what they were compared with."""


def pixels(size: tuple[int, ...]) -> str:
    """(H, W) in words."""
    return f"{size[1]} x {size[0]} pixels"
