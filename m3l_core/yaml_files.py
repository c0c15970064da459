"""YAML files that people write."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML in UTF-8, or a key stands twice in one mapping: which of them counts would be
            settled in silence.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except ValueError as error:  # not UTF-8, or a date that is none
        raise yaml.YAMLError(str(error)) from error


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:  # as written: what a merge (<<) brings may be written over
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)
