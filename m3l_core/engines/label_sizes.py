"""Which sizes of label images one engine gives."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

Size = tuple[int, int]
"""(H, W) in pixels."""


class LabelSizes(BaseModel):
    """From the smallest to the largest, each side for itself; fastest at the best."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smallest: Size
    best: Size
    largest: Size

    @classmethod
    def up_to(cls, largest: Size, input_size: Size) -> LabelSizes:
        """Any size up to ``largest``, best at twice the network's input, as cameras have it."""
        height, width = largest
        return cls(
            smallest=(min(height, 32), min(width, 32)),
            best=(min(height, 2 * input_size[0]), min(width, 2 * input_size[1])),
            largest=largest,
        )

    @classmethod
    def only(cls, size: Size) -> LabelSizes:
        """One size alone: less memory, and nothing for TensorRT to work out at run time."""
        return cls(smallest=size, best=size, largest=size)

    @property
    def fixed(self) -> bool:
        return self.smallest == self.largest

    def nearest(self, size: Size) -> Size:
        """The size to compute where ``size`` is asked for."""
        height, width = (
            min(max(side, low), high) for side, low, high in zip(size, self.smallest, self.largest, strict=True)
        )
        return height, width

    @model_validator(mode="after")
    def _in_order(self) -> LabelSizes:
        for low, best, high in zip(self.smallest, self.best, self.largest, strict=True):
            if not 1 <= low <= best <= high:
                raise ValueError(
                    f"expected sizes in order, got {self.smallest}, {self.best} and {self.largest} (height, width)"
                )
        return self

    def __str__(self) -> str:
        height, width = self.largest
        return f"{height}x{width}" if self.fixed else f"up to {height}x{width}"
