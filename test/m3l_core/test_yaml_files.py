"""YAML files that people write: what they say, or why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3l_core.yaml_files import parse_yaml, read_yaml

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
        (b"name: a\nfaults: []\nname: b", r"'name' stands twice \(line 3, column 1\)"),
        (b"deep: [{a: 1, b: 2, a: 3}]", "'a' stands twice"),
        (b"base: &base {a: 1}\nother: {<<: *base, b: 1, b: 2}", "'b' stands twice"),
        (b"name: \xff", "utf-8"),
        (b"date: !!timestamp today", "the tag tag:yaml.org,2002:timestamp is not taken"),
        (b"- !!python/object/apply:os.system [ls]", "the tag .*os.system is not taken"),
        (b"- !!set {a, b}", "the tag .*set is not taken"),
        (b"- !!binary x", "the tag .*binary is not taken"),
        (b"- !own x", "the tag !own is not taken"),
        (b"number: " + b"9" * 5000, "integer string"),
        (b"a: &a [*a]", "'\\*a' stands for what it is in itself"),
        (b"a: &a {b: {c: *a}}", "'\\*a' stands for what it is in itself"),
        (b"a: *b", "'\\*b' stands for"),
        (b"[" * 3000, "more than 40 deep"),
        (b"{a: " * 3000, "more than 40 deep"),
        (b"- " * 3000 + b"a", "more than 40 deep"),
        (b"[" + b"1," * 60_000 + b"]", "more than 50000 values"),
        (b"a" * (1 << 20) + b"a", "more than 1048576 bytes"),
        (b"{[a]: b, {c: d}: e}", "unhashable key"),
        (b"a: b\n---\nc: d", "another document"),
        (b"a: \0", "special characters"),
        (b"open: [", "expected the node content"),
    ],
)
def test_a_file_that_says_nothing_certain_is_refused(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(text)
    with pytest.raises(yaml.YAMLError, match=why) as told:
        read_yaml(path)
    assert len(str(told.value)) < 200


def test_a_merged_key_may_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("base: &base {a: 1, b: 1}\nother: {<<: *base, b: 2}")
    assert read_yaml(path)["other"] == {"a": 1, "b": 2}


def aliases(levels: int) -> str:
    """Each level is nine times the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [aliases(9), "<<: &a {b: 1}\nc: &c [" + "*a, " * 9 + "]\nd: [" + "*c, " * 9000 + "]"])
def test_aliases_count_as_what_they_stand_for(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(yaml.YAMLError, match="more than 50000 values"):
        read_yaml(path)
    path.write_text(aliases(3))
    assert read_yaml(path)["a2"] == [[["x"] * 9] * 9] * 9


def test_where_none_are_taken_an_alias_is_told(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: &a 1\nb: *a")
    assert read_yaml(path) == {"a": 1, "b": 1}
    with pytest.raises(yaml.YAMLError, match=r"aliases are not taken here: write the value out \(line 2, column 4\)"):
        read_yaml(path, aliases=False)


@pytest.mark.parametrize("date", ["2026-11-29", "2026-13-45", "2026-11-29T06:00:00Z"])
def test_a_date_is_a_text(date: str) -> None:
    assert parse_yaml(f"date: {date}") == {"date": date}


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(OSError, match="no regular file"):
        read_yaml(Path("/dev/zero"))


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(yaml.YAMLError, match="more than 1048576 bytes"):
        read_yaml(tmp_path / "large.yaml")
