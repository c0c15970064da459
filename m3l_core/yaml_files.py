"""YAML files that people write, and that strangers send: every one of ours is read here."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from m3l_core.files import regular_size

_MOST_BYTES = 1 << 20
_MOST_VALUES = 50_000
"""With what aliases stand for: 700 bytes of aliases can say as much as a disk holds."""
_DEEPEST = 40


def read_yaml(path: Path, aliases: bool = True) -> Any:
    """The content of a YAML file: mappings, lists, texts, numbers, booleans and nothing; a date stays a text.

    Args:
        path: the file.
        aliases: whether a value may be named and used again (``&name``, ``*name``).

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML in UTF-8, is larger or deeper than any that people write, has aliases where there
            should be none, a tag, or a key that stands twice in one mapping: which of them counts would be settled in
            silence. The text says where, in one line.
    """
    if regular_size(path) > _MOST_BYTES:
        raise yaml.YAMLError(f"it has more than {_MOST_BYTES} bytes")
    try:
        return parse_yaml(path.read_bytes().decode("utf-8"), aliases)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(str(error)) from error


def parse_yaml(text: str, aliases: bool = True) -> Any:
    """The same for a text.

    Raises:
        yaml.YAMLError: as ``read_yaml``.
    """
    try:
        _check(text, aliases)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise yaml.YAMLError(f"{error.problem or error.context}{where}") from error
    except ValueError as error:  # a number that is none
        raise yaml.YAMLError(str(error)) from error


def _check(text: str, aliases: bool) -> None:
    """Walk through the file without building anything of it."""
    sizes: dict[str, int] = {}
    """Anchor -> values that it stands for."""
    within: list[tuple[str | None, int]] = []
    """Of each list or mapping around: its anchor, and the values before it."""
    count = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                raise _refused("aliases are not taken here: write the value out", event)
            if event.anchor not in sizes:  # PyYAML tells of an unknown one itself
                raise _refused(f"'*{event.anchor}' stands for what it is in itself, or for nothing", event)
            count += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if (tag := getattr(event, "tag", None)) not in (None, "!"):  # "!" alone says that a value is a text
                raise _refused(f"the tag {tag} is not taken: write the value without it", event)
            if isinstance(event, yaml.CollectionStartEvent):
                within.append((event.anchor, count))
                if len(within) > _DEEPEST:
                    raise _refused(f"it is nested more than {_DEEPEST} deep", event)
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor is not None:
                sizes[anchor] = count - before + 1
        if count > _MOST_VALUES:
            raise _refused(f"it has more than {_MOST_VALUES} values", event)


def _refused(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast("yaml.Mark | None", event.start_mark))


class _Loader(yaml.SafeLoader):
    # A date is what its writer meant it to be, and Python's cannot be written as JSON.
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:  # as written: what a merge (<<) brings may be written over
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)
