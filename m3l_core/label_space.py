"""``m3l_label_space``: what Hydra and its colour maps must know of a bundle's classes.

    m3l_label_space BUNDLE --output config/hydra

Writes NAME_label_space.yaml, as Hydra's config/label_spaces has them, and NAME.csv, as Hydra-ROS's config/color and
semantic_inference read colors. What becomes an object, a surface to stand on or something that moves follows from the
names of the classes, is printed, and can be said otherwise.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.errors import M3LError
from m3l_core.files import replacing_file
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.shipped import shipped_bundle

ROLES = ("objects", "surfaces", "dynamic", "structure")
_STRUCTURE = "wall ceiling window column pillar beam building structure fence sky facade roof"
_SURFACES = "floor ground road sidewalk path carpet rug stairs terrain grass pavement"
_DYNAMIC = "person people human pedestrian rider animal dog cat car bus truck bicycle motorcycle vehicle robot"
_USUAL = {
    **dict.fromkeys(_STRUCTURE.split(), "structure"),
    **dict.fromkeys(_SURFACES.split(), "surfaces"),
    **dict.fromkeys(_DYNAMIC.split(), "dynamic"),
}
_UNKNOWN = "Unknown"


def usual_roles(labels: LabelSet) -> dict[str, str]:
    """Class -> one of ``ROLES``, by what its name usually means; an object where that says nothing."""
    return {name: _USUAL.get(name.lower(), "objects") for name in labels.names}


def label_space(labels: LabelSet, roles: Mapping[str, str], unlabelled: int) -> dict[str, Any]:
    """What Hydra's ``LabelSpaceConfig`` reads.

    Args:
        labels: the classes.
        roles: class -> one of ``ROLES``; structure is part of the mesh and nothing else.
        unlabelled: the node's ``unlabelled_value``, 0 or 255; with 0 every id is one more than in the bundle.
    """
    ids = _ids(labels, unlabelled)
    of_role = {role: [ids[name] for name in labels.names if roles[name] == role] for role in ROLES}
    names = ({_nothing(labels): 0} if unlabelled == 0 else {}) | ids
    return {
        "total_semantic_labels": len(names),
        "dynamic_labels": of_role["dynamic"],
        "invalid_labels": [unlabelled],
        "object_labels": of_role["objects"],
        "surface_places_labels": of_role["surfaces"],
        "label_names": [{"label": number, "name": name} for name, number in names.items()],
    }


def color_table(labels: LabelSet, unlabelled: int) -> str:
    """Rows of name, red, green, blue, alpha and id; black where nothing is labelled."""
    rows = [(_nothing(labels), (0, 0, 0), unlabelled)]
    ids = _ids(labels, unlabelled)
    rows += [(each.name, each.color, ids[each.name]) for each in labels.classes]
    lines = [
        # What reads it parts rows at every comma, quoted or not.
        f"{name.replace(',', ';')},{red},{green},{blue},255,{number}"
        for name, (red, green, blue), number in sorted(rows, key=lambda row: row[2])
    ]
    return "\n".join(["name,red,green,blue,alpha,id", *lines, ""])


def write_label_space(folder: Path, name: str, space: Mapping[str, Any], colors: str) -> tuple[Path, Path]:
    """Write both files, each whole or not at all."""
    text = yaml.safe_dump(dict(space), sort_keys=False, allow_unicode=True, default_flow_style=None)
    stem = re.sub(r"[^\w.-]", "_", name)
    paths = folder / f"{stem}_label_space.yaml", folder / f"{stem}.csv"
    for path, content in zip(paths, (text, colors), strict=True):
        with replacing_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def main() -> None:
    run(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=shipped_bundle(), help="default: the shipped bundle")
    parser.add_argument("--output", type=Path, default=Path(), help="folder (default: this one)")
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        choices=(0, IGNORE),
        default=IGNORE,
        help="the node's unlabelled_value (default: 255)",
    )
    for role in ROLES:
        parser.add_argument(f"--{role}", nargs="+", default=[], metavar="CLASS", help=f"classes that are {role}")
    arguments = parser.parse_args()
    described = ModelBundle.load(arguments.bundle).description
    roles = usual_roles(described.labels) | _given_roles(described.labels, vars(arguments))
    space = label_space(described.labels, roles, arguments.unlabelled_value)
    colors = color_table(described.labels, arguments.unlabelled_value)
    written = write_label_space(arguments.output, described.name, space, colors)
    for role in ROLES:
        print(f"{role}: {', '.join(name for name in described.labels.names if roles[name] == role) or 'none'}")
    print(f"written: {', '.join(map(str, written))}")


def _given_roles(labels: LabelSet, arguments: Mapping[str, Sequence[str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for role in ROLES:
        for name in arguments[role]:
            if name not in labels.names:
                raise M3LError(f"--{role}: the bundle has no class '{name}'; it has {', '.join(labels.names)}")
            if given.setdefault(name, role) != role:
                raise M3LError(f"'{name}' cannot be both {given[name]} and {role}")
    return given


def _nothing(labels: LabelSet) -> str:
    """What no label is called, as no class is."""
    name = _UNKNOWN
    while name in labels.names:
        name += "_"
    return name


def _ids(labels: LabelSet, unlabelled: int) -> dict[str, int]:
    first = 1 if unlabelled == 0 else 0
    return {name: number for number, name in enumerate(labels.names, first)}


if __name__ == "__main__":
    main()
