"""YAML files that people write: what they say, or why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3l_core.yaml_files import read_yaml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, value: object) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    assert read_yaml(path) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"name: a\nfaults: []\nname: b", "'name' stands twice.*\n.*line 3"),
        (b"deep: [{a: 1, b: 2, a: 3}]", "'a' stands twice"),
        (b"base: &base {a: 1}\nother: {<<: *base, b: 1, b: 2}", "'b' stands twice"),
        (b"name: \xff", "utf-8"),
        (b"date: 2026-13-45", "month"),
        (b"open: [", "expected the node content"),
    ],
)
def test_a_file_that_says_nothing_certain_is_refused(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(text)
    with pytest.raises(yaml.YAMLError, match=why):
        read_yaml(path)


def test_a_merged_key_may_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("base: &base {a: 1, b: 1}\nother: {<<: *base, b: 2}")
    assert read_yaml(path)["other"] == {"a": 1, "b": 2}
