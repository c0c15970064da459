"""Extraction of bags that may be on another machine or in object storage: all that is done to one is one piece of work.

A data folder in object storage is copied to the machine that works on it, and what is new is copied back: as on a disk,
files that are there are kept, and an extraction that was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from m3l_core.bags.bag_files import name_of_file
from m3l_core.errors import DatasetError
from m3l_core.extraction.extraction import Extraction, extract_bag
from m3l_core.extraction.task import ExtractionSettings, prepare_extraction
from m3l_core.remote_files import Location, joined, local_copy, local_folder


class StoredExtraction(NamedTuple):
    """What came out of a bag, and which of its topics were chosen."""

    topics: Mapping[str, str]
    """Modality -> topic."""
    extraction: Extraction


def bag_name(bag: Location) -> str:
    """That of its folder, or of its file, whether or not it can be seen from here."""
    if isinstance(bag, Path) and bag.is_dir():
        return bag.resolve().name
    return name_of_file(PurePosixPath(bag).name)


def extract_stored_bag(
    output: Location,
    given: Mapping[str, str | None],
    settings: ExtractionSettings,
    threads: int,
    bag: Location,
) -> StoredExtraction | DatasetError:
    """What comes of a bag, or why nothing does.

    Args:
        output: the data folder.
        given: modality -> topic, 'none' for none, or None to guess it.
        settings: what is wanted.
        threads: that encode and write.
        bag: its folder or file.
    """
    try:
        with local_copy(bag) as path:
            task = prepare_extraction(path, Path(), given, settings, threads)
            with local_folder(joined(output, task.name), with_content=True) as folder:
                extraction = extract_bag(replace(task, output=folder.parent))
    except DatasetError as error:
        return error
    extraction.damage = extraction.damage.replace(str(path), str(bag))
    return StoredExtraction(task.topics, extraction)
