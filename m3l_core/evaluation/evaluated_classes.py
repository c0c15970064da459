"""Which classes an evaluation counts: the bundle's, or others that bundle and labels are both mapped to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from m3l_core.datasets.class_map import ClassMap
from m3l_core.errors import DatasetError
from m3l_core.frames import Segmentation
from m3l_core.labels import LabelSet, SemanticClass


@dataclass(frozen=True, slots=True)
class EvaluatedClasses:
    """The classes that are counted, and how labels become them."""

    labels: LabelSet
    of_labels: ClassMap | None = None
    """From the classes of the ground truth; None: it has ``labels``."""
    of_bundle: ClassMap | None = None
    """From the classes of the bundle; None: it has ``labels``."""

    @classmethod
    def mapped(
        cls,
        bundle: LabelSet,
        of_labels: dict[str, str | None] | None = None,
        of_bundle: dict[str, str | None] | None = None,
    ) -> EvaluatedClasses:
        """Read the class maps of the ground truth and of the bundle, where there are any.

        With ``of_bundle``, what is counted are the classes that the two maps name.

        Raises:
            DatasetError: a map names a class that is not there, or ``of_bundle`` leaves out one of the bundle's.
        """
        labels = bundle
        if of_bundle is not None:
            if [*of_bundle] != [*bundle.names] or None in of_bundle.values():
                raise DatasetError(
                    f"the bundle's class map needs a class for each of its own, {', '.join(bundle.names)}, in that "
                    f"order; it has {', '.join(name for name, target in of_bundle.items() if target)}"
                )
            labels = _targets(bundle, of_bundle, of_labels or {})
        maps = [None if each is None else ClassMap.of(each, labels.names) for each in (of_labels, of_bundle)]
        return cls(labels, *maps)

    @property
    def measured(self) -> frozenset[int] | None:
        """The classes that the ground truth can have; None: all."""
        return None if self.of_labels is None else self.of_labels.classes

    def of(self, found: Segmentation) -> Segmentation:
        """What a bundle has found, in the classes that are counted."""
        return found if self.of_bundle is None else replace(found, labels=self.of_bundle.apply(found.labels))


def _targets(bundle: LabelSet, *maps: dict[str, str | None]) -> LabelSet:
    """What the maps name, in the color of the first class of the bundle that becomes it; others are gray."""
    colors = {maps[0][entry.name]: entry.color for entry in reversed(bundle.classes)}
    names = dict.fromkeys(name for each in maps for name in each.values() if name is not None)
    return LabelSet(classes=tuple(SemanticClass(name=name, color=colors.get(name, (128, 128, 128))) for name in names))
