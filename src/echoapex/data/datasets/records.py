"""One clip of a public data set in one form for all of them: where it is, whose it is, and what is true of it.

Everything is in native pixels (x to the right, y downwards, the centre of the first pixel is (0, 0)). What a data set
does not tell is None or empty; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.data.datasets.clip_checks import decode_whole
from echoapex.data.datasets.polygons import fill_polygon, polygon_area_px
from echoapex.domain import Spacing, WallPoint
from echoapex.domain.geometry import Size
from echoapex.io.clip_source import ReadError
from echoapex.vocabulary import Quantity, Structure, View

LabelMaps = dict[int, UInt8[np.ndarray, "height width"]]
ALL = "all"
"""The split that means every clip, whatever its own split is."""


class DatasetError(ValueError):
    """A data set that cannot be read; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class ReferenceValue:
    """A true value of the clip, in the unit of its quantity, and where it comes from, in words."""

    quantity: Quantity
    value: float
    source: str


@dataclass(frozen=True, eq=False)
class Outline:
    """A structure outlined on one frame.

    Attributes:
        frame: frame number, from 0.
        structure: what is outlined.
        polygon_xy: the corners in order, in native pixels; the last is joined to the first.
        phase: ED or ES where the data set (or the larger area of the two) tells it.
    """

    frame: int
    structure: Structure
    polygon_xy: Float[np.ndarray, "points 2"]
    phase: Literal["", "ED", "ES"] = ""

    @property
    def area_px(self) -> float:
        """Area inside the polygon, in square pixels."""
        return polygon_area_px(self.polygon_xy)

    def mask(self, size: Size) -> Bool[np.ndarray, "height width"]:
        """The pixels whose centres lie inside."""
        return fill_polygon(self.polygon_xy, size)


@dataclass(frozen=True)
class WallTracing:
    """The four wall end points that a person marked on one frame, in native pixels."""

    frame: int
    points_xy: Mapping[WallPoint, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class ClipRecord:
    """One clip (or still) and its truth.

    Attributes:
        name: the clip in words, unique in its data set.
        path: the file; it need not exist, since a list may promise more than was downloaded.
        patient: a name that tells patients apart; None when the data set hides it.
        split: one of the official names of the data set; None where it has none.
        view: the view where the data set tells it exactly enough.
        references: true values, each with its unit (by its quantity) and its source.
        spacing: calibrated pixel size, or None; then ``spacing_reason`` says why.
        size: ``(height, width)`` of a frame where the data set tells it.
        outlines: polygons by frame.
        walls: wall end points by frame.
        labels: any further labels, as the data set writes them.
        label_source: reads label maps that are files of their own; then ``outlines`` is empty.
        outlined: the structures that were looked for in these maps; of others nothing is known.

    Raises:
        DatasetError: no spacing and no reason for it.
    """

    name: str
    path: Path
    patient: str | None = None
    split: str | None = None
    view: View | None = None
    references: tuple[ReferenceValue, ...] = ()
    spacing: Spacing | None = None
    spacing_reason: str = ""
    size: Size | None = None
    outlines: tuple[Outline, ...] = ()
    walls: tuple[WallTracing, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    label_source: Callable[[], LabelMaps] | None = None
    outlined: tuple[Structure, ...] = ()

    def __post_init__(self) -> None:
        if self.spacing is None and not self.spacing_reason:
            raise DatasetError(f"{self.name}: a clip without spacing must say why (spacing_reason)")

    def value(self, quantity: Quantity) -> float | None:
        """The first true value of a quantity, in its unit; None where there is none."""
        return next((one.value for one in self.references if one.quantity is quantity), None)

    def read_labels(self) -> LabelMaps:
        """Label maps by frame, in native pixels; empty where nothing is outlined.

        The clip is opened where the data set does not tell the size of its frames.

        Raises:
            DatasetError: the clip or a label file cannot be read.
        """
        if self.label_source is not None:
            return self.label_source()
        maps: LabelMaps = {}
        size = self.size if self.size or not self.outlines else read_frame_size(self.path)
        for outline in self.outlines:
            assert size is not None
            labels = maps.setdefault(outline.frame, np.zeros(size, np.uint8))
            labels[outline.mask(size)] = int(outline.structure)
        return maps


def read_frame_size(path: Path) -> Size:
    """``(height, width)`` of the frames of a clip of any format.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return decode_whole(path).size
    except ReadError as error:
        raise DatasetError(str(error)) from error


class Dataset(Protocol):
    """A data set that was opened."""

    @property
    def split_names(self) -> tuple[str, ...]:
        """The official names of its splits; empty where it has none."""
        ...

    def records(self, split: str = ALL) -> Iterator[ClipRecord]:
        """The clips of a split, in the order of the data set's own list.

        Raises:
            DatasetError: the split is unknown, or a table is damaged.
        """
        ...


def require_split(split: str, names: tuple[str, ...]) -> None:
    """Refuse a split that the data set does not have.

    Raises:
        DatasetError: with the names that it has.
    """
    if split != ALL and split not in names:
        known = ", ".join((*names, ALL))
        raise DatasetError(f"split {split!r} is none of {known}")
