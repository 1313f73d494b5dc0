"""One clip of a public data set, in the same form for all sets: its file, its patient, and its labels.

Everything is in native pixels (x to the right, y downwards, the centre of the first pixel is (0, 0)). What a data set
does not tell is None or empty; nothing is guessed.

The module also has what the readers share: checks of splits (official names, published counts, no patient in two
splits), CSV tables with errors that name file, line and remedy, and polygons from paired chords to areas and masks.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TextIO

import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.data.datasets.inspection import Inspection, decode_whole
from echoapex.domain import Spacing, WallPoint
from echoapex.domain.clip import Size
from echoapex.io.clip_source import ReadError
from echoapex.vocabulary import Quantity, Structure, View

LabelMaps = dict[int, UInt8[np.ndarray, "height width"]]
ALL = "all"
"""The split that means every clip, whatever its own split is."""
Row = dict[str, str]


def polygon_of_chords(chords_xy: Float[np.ndarray, "chords 2 2"]) -> Float[np.ndarray, "points 2"]:
    """The outline through the ends of chords that cross a structure: down one side and back up the other.

    Args:
        chords_xy: chord by chord in order along the structure, its two ends, x and y.

    >>> polygon_of_chords(np.array([[[0.0, 0], [2, 0]], [[0, 1], [2, 1]]])).tolist()
    [[0.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 0.0]]
    """
    chords = np.asarray(chords_xy, dtype=np.float64)
    return np.concatenate([chords[:, 0], chords[::-1, 1]])


def polygon_area_px(polygon_xy: Float[np.ndarray, "points 2"]) -> float:
    """Area inside a polygon, in square pixels (shoelace formula).

    >>> polygon_area_px(np.array([[0.0, 0], [0, 1], [2, 1], [2, 0]]))
    2.0
    """
    x, y = np.asarray(polygon_xy, dtype=np.float64).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def fill_polygon(polygon_xy: Float[np.ndarray, "points 2"], size: Size) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie inside a polygon (even-odd rule), so that the mask has the polygon's area.

    Args:
        polygon_xy: corners in order, x and y; parts outside the frame are cut off.
        size: ``(height, width)`` of the mask.
    """
    height, width = size
    mask = np.zeros(size, dtype=bool)
    corners = np.asarray(polygon_xy, dtype=np.float64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # half-open, so that a corner on a row is crossed once
        rows = np.arange(max(int(np.ceil(min(y0, y1))), 0), min(int(np.ceil(max(y0, y1))), height))
        crossings = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
        for row, first in zip(rows, np.clip(np.ceil(crossings), 0, width).astype(int), strict=True):
            mask[row, first:] ^= True
    return mask


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
class DatasetClip:
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

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
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


class SplitTally:
    """Counts clips by split and watches for patients who are in two of them."""

    def __init__(self, inspection: Inspection, table: Path, names: Sequence[str], *, group: str = "patient") -> None:
        """Watch one table.

        Args:
            inspection: where findings go.
            table: the file that tells the splits.
            names: the official names; without any, every name is taken.
            group: what must not be divided, in words; the clip where patients are hidden.
        """
        self._inspection, self._table, self._names, self._group = inspection, table, tuple(names), group
        self._split_of: dict[str, str] = {}
        self.counts: dict[str, int] = dict.fromkeys(self._names, 0)

    @property
    def groups(self) -> int:
        """Patients (or whatever must not be divided) seen so far."""
        return len(self._split_of)

    def add(self, clip: str, patient: str | None, split: str | None) -> None:
        """One clip, its patient (or other group) where known, and its split."""
        if self._names and split not in self._names:
            self._inspection.error(
                "split name",
                self._table,
                f"{clip} has the split {split or 'none'!r}, official are {', '.join(self._names)}",
                "take the official table; a split of your own belongs into the data set 'folder'",
            )
            return
        if split is not None:
            self.counts[split] = self.counts.get(split, 0) + 1
        if patient is None:
            return
        earlier = self._split_of.get(patient, "")
        self._split_of[patient] = earlier or split or ""
        if split and earlier and earlier != split:
            self._inspection.error(
                f"{self._group} in two splits",
                self._table,
                f"the {self._group} of {clip} ({patient}) is in {earlier} and in {split}",
                f"leave this {self._group} out of training; a score on the other split would be too good",
            )

    def compare(self, published: Mapping[str, int], source: str) -> None:
        """Hold the counts against the published ones."""
        for split, expected in published.items():
            found = self.counts.get(split, 0)
            if found != expected:
                self._inspection.warn(
                    "count of a split",
                    self._table,
                    f"{found} clips in the split {split}, published are {expected} ({source})",
                    "take the official table, complete and unchanged",
                )


OFFICIAL = "take the official table, unchanged"


def read_rows(path: Path, columns: Sequence[str], remedy: str = OFFICIAL) -> Iterator[Row]:
    """The rows of a table with a heading line; memory holds one row. ``.gz`` is expanded on the way.

    Args:
        path: the table.
        columns: columns that it must have; others are passed on too.
        remedy: what to do where a column is missing, in words; by default for a table of a public data set.

    Yields:
        Column to text, stripped of blanks; a cell that a short row lacks is empty.

    Raises:
        DatasetError: the table is missing, is no text, or lacks a column.
    """
    try:
        with _opened(path) as stream:
            reader = csv.DictReader(stream)
            found = reader.fieldnames or ()
            missing = [column for column in columns if column not in found]
            if missing:
                raise DatasetError(
                    f"{path.name}: lacks the column {', '.join(missing)} (it has {', '.join(found) or 'none'})"
                    f"{_misspelt(missing, found)}; {remedy}"
                )
            for row in reader:
                yield {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    except FileNotFoundError as error:
        raise DatasetError(f"{path.name}: is missing in {path.parent}; check --root, or download it again") from error
    except (OSError, EOFError) as error:
        raise DatasetError(f"{path.name}: cannot be read ({error}); check the file, or download it again") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name}: is no CSV text in UTF-8 ({error}); download it again") from error


def plain_name(column: str) -> str:
    """A column's name as people mean it, without case, blanks and signs.

    >>> plain_name("EF (%)"), plain_name("View_Name")
    ('ef', 'viewname')
    """
    return "".join(letter for letter in column.lower() if letter.isalnum())


def _misspelt(missing: Sequence[str], found: Sequence[str]) -> str:
    """Which column of the table is probably one that is missing, in words."""
    names = {plain_name(column): column for column in found}
    for column in missing:
        close = difflib.get_close_matches(plain_name(column), names, n=1, cutoff=0.75)
        if close:
            return f"; is its column {names[close[0]]!r} meant to be {column!r}?"
    return ""


def _opened(path: Path) -> TextIO:
    # a byte order mark, which spreadsheets write, is no part of the first column
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(newline="", encoding="utf-8-sig")


def number(text: str) -> float | None:
    """A finite number, or None where the cell is empty or holds something else.

    >>> number("54.5"), number("nan"), number("No Systolic")
    (54.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole_number(text: str) -> int | None:
    """A whole number (``12`` or ``12.0``), or None.

    >>> whole_number("46"), whole_number("46.0"), whole_number("46.5")
    (46, 46, None)
    """
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def video_name(name: str) -> str:
    """A video's file name, with the ``.avi`` that some lists leave out.

    >>> video_name("0X1A"), video_name("0X1A.avi")
    ('0X1A.avi', '0X1A.avi')
    """
    return name if name.lower().endswith(".avi") else f"{name}.avi"
