"""Label images come back by stamp, the nearest within reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bags import ids, png

from m3l_core.errors import DatasetError
from m3l_core.replay.label_images import LabelFiles, LabelStore


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(-100, 1100), st.integers(0, 200))
def test_a_store_gives_the_nearest_of_what_was_put_in(stamps: list[int], wanted: int, within: int) -> None:
    with LabelStore() as store:
        for stamp in stamps:
            store.add(stamp, np.full((2, 3), stamp % 251, np.uint8))
        found = store.nearest(wanted, within)
        assert len(store) == len(set(stamps))
        distance = min((abs(stamp - wanted) for stamp in stamps), default=within + 1)
        if distance > within:
            assert found is None
        else:
            assert found is not None
            assert abs(found.stamp_ns - wanted) == distance
            assert found.size == (2, 3)
            assert (found.ids == found.stamp_ns % 251).all()


def test_images_of_any_size_are_kept_whole_and_the_first_of_a_stamp_counts() -> None:
    with LabelStore() as store:
        store.add(5, ids(0))
        store.add(3, ids(1)[:7, :9])  # not contiguous
        store.add(5, ids(2))
        for stamp, expected in ((5, ids(0)), (3, ids(1)[:7, :9])):
            found = store.nearest(stamp, 0)
            assert found is not None
            np.testing.assert_array_equal(found.ids, expected)


def test_files_are_read_when_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "7.png").write_bytes(png(ids(0)))
    files = LabelFiles({7: tmp_path / "7.png", 100: tmp_path / "gone.png"})
    found = files.nearest(9, 2)
    assert found is not None
    assert found.stamp_ns == 7
    np.testing.assert_array_equal(found.ids, ids(0))
    assert files.nearest(10, 2) is None
    with pytest.raises(DatasetError, match=r"gone\.png"):
        files.nearest(100, 0)
