"""Labels of a bag on the command line: their topic, what their ids are, and who labelled."""

from __future__ import annotations

import argparse

from m3l_core.bags.topics import NONE
from m3l_core.command_line import whole_number
from m3l_core.datasets.class_map import ClassMap, read_mapping
from m3l_core.datasets.folder import Teacher
from m3l_core.errors import DatasetError
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.labels import LabelSet


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--label`` and what belongs to it."""
    group = parser.add_argument_group("labels that the bags hold")
    add = group.add_argument
    add("--label", metavar="TOPIC", help="images of class ids, in one channel, with the stamps of the frames")
    add(
        "--label-info",
        metavar="TOPIC",
        help="vision_msgs/LabelInfo that says which id is which class; if not given, the one beside the labels; 'none' "
        "for none",
    )
    add("--labels", metavar="FILE", help="labels.yaml with your classes; if not given, the one in the output folder")
    add(
        "--class-map",
        metavar="FILE[#KEY]",
        help="JSON or YAML file, or a part of it, that says which of your classes each class of the labels is, or null",
    )
    add("--nothing", type=whole_number, nargs="+", default=[], metavar="ID", help="ids that are no class, such as 0")
    add("--teacher", metavar="NAME", help="the model that labelled: goes into the index, and on into model cards")
    add("--teacher-licence", metavar="TEXT", help="the terms of its labels")


def check_label_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End with what does not fit together."""
    belonging = ("label_info", "labels", "class_map", "nothing", "teacher", "teacher_licence")
    if arguments.label in (None, NONE):
        if told := [name for name in belonging if getattr(arguments, name)]:
            parser.error(f"argument --{told[0].replace('_', '-')}: there are no labels without --label")
    elif arguments.stamps == "receive":
        parser.error("argument --label: labels belong to the images of their stamps, so --stamps must be header")
    if (arguments.teacher is None) != (arguments.teacher_licence is None):
        parser.error("arguments --teacher and --teacher-licence: expected both, or none; 'unknown' if nobody says")


def label_source_of(arguments: argparse.Namespace, labels: LabelSet | None) -> LabelSource | None:
    """What the command line says.

    Args:
        arguments: of a parser with ``add_label_arguments``.
        labels: your classes, where they are known.

    Raises:
        DatasetError: the class map cannot be read, or maps to a class that is not there.
    """
    if arguments.label in (None, NONE):
        return None
    class_map = None
    if arguments.class_map is not None:
        if labels is None:
            raise DatasetError("--class-map needs the classes that it maps to: give --labels")
        class_map = read_mapping(arguments.class_map)
        ClassMap.of(class_map, labels.names)
    return LabelSource(
        arguments.label,
        arguments.label_info,
        None if labels is None else labels.names,
        class_map,
        tuple(arguments.nothing),
        None if arguments.teacher is None else Teacher(arguments.teacher, arguments.teacher_licence),
    )
