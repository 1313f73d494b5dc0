"""EchoNet-LVH: parasternal long-axis videos at native resolution, with septum, LV and posterior wall measured.

Duffy et al., JAMA Cardiology 2022, doi 10.1001/jamacardio.2021.6059; Stanford's research use agreement,
non-commercial. The official layout is ``MeasurementsList.csv`` and the videos in ``Batch1`` to ``Batch4``; a row is one
measured line: ``HashedFileName`` (without ``.avi``), ``Calc`` (``IVSd``, ``LVIDd``, ``LVPWd``, ``LVIDs``, ...),
``CalcValue`` in cm, ``Frame``, ``X1``, ``Y1``, ``X2``, ``Y2``, ``Frames``, ``FPS``, ``Width``, ``Height``, ``split``
(``train``, ``val``, ``test``).

Confirmed from the authors' page (12,000 videos, native resolution) and from independent converters (columns, folders,
split names, cm). Not confirmed: that ``Frame`` counts from 0, as is taken here, and that pixels are square, which no
line along one direction could tell. Patients are hidden.

The table holds no pixel spacing. It is recovered here as length over pixel distance, but only where at least two lines
of a clip agree on it within what rounding of their ends allows; otherwise it is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    ReferenceValue,
    Row,
    SplitTally,
    WallTracing,
    number,
    read_rows,
    require_split,
    video_name,
    whole_number,
)
from echoapex.domain import Spacing, WallPoint
from echoapex.domain.clip import Size
from echoapex.vocabulary import Quantity, View

LIST_FILE = "MeasurementsList.csv"
BATCHES = ("Batch1", "Batch2", "Batch3", "Batch4")
SPLITS = ("train", "val", "test")
PUBLISHED_VIDEOS = 12_000
SOURCE = "EchoNet-LVH MeasurementsList.csv, measured by the sonographer"
DIASTOLIC = {"IVSd": Quantity.IVSD, "LVIDd": Quantity.LVIDD, "LVPWd": Quantity.LVPWD}
END_ROUNDING_PX = 1.0
"""How far the two ends of a line together may be off, since they are whole pixels."""
MOST_GAP_PX = 8.0
"""Septum, cavity and posterior wall meet: ends further apart than this are reported."""

_COLUMNS = ("HashedFileName", "Calc", "CalcValue", "Frame", "X1", "X2", "Y1", "Y2", "Width", "Height", "split")
_MM_PER_CM = 10.0
_CREDIBLE_MM_PER_PX = (0.02, 2.0)

Point = tuple[float, float]


@dataclass(frozen=True)
class WallLine:
    """One measured line.

    Attributes:
        calc: the name of the measurement, as the data set writes it.
        value_mm: its length.
        frame: the frame it lies on.
        upper_xy: its end nearer to the transducer, in native pixels.
        lower_xy: its other end.
    """

    calc: str
    value_mm: float
    frame: int
    upper_xy: Point
    lower_xy: Point

    @property
    def length_px(self) -> float:
        """Distance of the ends in pixels."""
        return _distance_px(self.upper_xy, self.lower_xy)


class EchoNetLvh:
    """The data set in its official layout; the table is read when it is needed.

    Raises:
        DatasetError: ``MeasurementsList.csv`` is not in ``root``.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        if not (root / LIST_FILE).is_file():
            raise DatasetError(f"{root}: holds no {LIST_FILE}; give the folder that holds it and Batch1 to Batch4")
        self.root = root

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The videos of a split, by name.

        Raises:
            DatasetError: the split is unknown, or the table is damaged.
        """
        require_split(split, SPLITS)
        places = video_places(self.root)
        for name, rows in rows_by_video(self.root / LIST_FILE):
            if split in (ALL, rows[0]["split"]):
                yield _record(name, rows, places.get(name, self.root / BATCHES[0] / name))


def video_places(root: Path) -> dict[str, Path]:
    """Where each video lies, by its file name."""
    return {path.name: path for batch in BATCHES for path in sorted((root / batch).glob("*.avi"))}


def rows_by_video(table: Path) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each video. The table is sorted in memory: about 50,000 short rows.

    Raises:
        DatasetError: the table is missing or damaged.
    """
    rows = sorted(read_rows(table, _COLUMNS), key=lambda row: row["HashedFileName"])
    for name, group in groupby(rows, key=lambda row: row["HashedFileName"]):
        yield video_name(name), list(group)


def wall_lines(rows: Sequence[Row]) -> tuple[WallLine, ...]:
    """The measured lines of a video; rows without a positive length, a frame and both ends are passed over."""
    lines = []
    for row in rows:
        value_cm, frame = number(row["CalcValue"]), whole_number(row["Frame"])
        x1, y1, x2, y2 = (number(row[column]) for column in ("X1", "Y1", "X2", "Y2"))
        if value_cm is None or value_cm <= 0 or frame is None or x1 is None or y1 is None or x2 is None or y2 is None:
            continue
        upper, lower = sorted([(x1, y1), (x2, y2)], key=lambda end: end[1])
        lines.append(WallLine(row["Calc"], value_cm * _MM_PER_CM, frame, upper, lower))
    return tuple(lines)


def recover_spacing(lines: Sequence[WallLine]) -> tuple[Spacing | None, str]:
    """Pixel spacing from measured lengths over pixel distances, taken for square pixels.

    Each line allows a range of spacings: its length over its distance, give or take :data:`END_ROUNDING_PX`. The
    ranges of all lines must have a part in common; the value is the sum of the lengths over that of the distances.

    Returns:
        The spacing and "", or None and the reason.

    >>> line = lambda value_mm, length_px: WallLine("LVIDd", value_mm, 0, (0.0, 0.0), (0.0, length_px))
    >>> recover_spacing([line(50.0, 100.0), line(10.0, 20.0)])
    (Spacing(row_mm=0.5, column_mm=0.5), '')
    >>> recover_spacing([line(50.0, 100.0), line(10.0, 40.0)])[1]
    'its measured lines disagree: 0.250 to 0.500 mm per pixel'
    """
    usable = [line for line in lines if line.length_px > 4 * END_ROUNDING_PX]
    if len(usable) < 2:
        return None, "fewer than two measured lines, so that nothing confirms a spacing"
    ratios = [line.value_mm / line.length_px for line in usable]
    lowest = max(line.value_mm / (line.length_px + END_ROUNDING_PX) for line in usable)
    highest = min(line.value_mm / (line.length_px - END_ROUNDING_PX) for line in usable)
    if lowest > highest:
        return None, f"its measured lines disagree: {min(ratios):.3f} to {max(ratios):.3f} mm per pixel"
    mm_per_px = sum(line.value_mm for line in usable) / sum(line.length_px for line in usable)
    if not _CREDIBLE_MM_PER_PX[0] <= mm_per_px <= _CREDIBLE_MM_PER_PX[1]:
        return None, f"its measured lines give {mm_per_px:.3f} mm per pixel, which no echo image has"
    return Spacing(row_mm=mm_per_px, column_mm=mm_per_px), ""


def wall_tracing(lines: Sequence[WallLine]) -> tuple[WallTracing | None, float]:
    """The four wall end points, where septum, cavity and posterior wall were measured on one frame.

    Returns:
        The points, and the larger gap in pixels between ends that should meet; None and 0 where a line is missing.
    """
    by_calc = {line.calc: line for line in lines if line.calc in DIASTOLIC}
    if len(by_calc) < len(DIASTOLIC) or len({line.frame for line in by_calc.values()}) != 1:
        return None, 0.0
    septum, cavity, posterior = (by_calc[calc] for calc in DIASTOLIC)
    gap_px = max(
        _distance_px(septum.lower_xy, cavity.upper_xy),
        _distance_px(cavity.lower_xy, posterior.upper_xy),
    )
    points = {
        WallPoint.SEPTUM_RV_SIDE: septum.upper_xy,
        WallPoint.SEPTUM_LV_SIDE: septum.lower_xy,
        WallPoint.POSTERIOR_WALL_LV_SIDE: posterior.upper_xy,
        WallPoint.POSTERIOR_WALL_EPICARDIUM: posterior.lower_xy,
    }
    return WallTracing(septum.frame, points), gap_px


def _distance_px(a_xy: Point, b_xy: Point) -> float:
    return float(((a_xy[0] - b_xy[0]) ** 2 + (a_xy[1] - b_xy[1]) ** 2) ** 0.5)


def _record(name: str, rows: Sequence[Row], path: Path) -> DatasetClip:
    lines = wall_lines(rows)
    spacing, reason = recover_spacing(lines)
    tracing, _ = wall_tracing(lines)
    return DatasetClip(
        name=name,
        path=path,
        split=rows[0]["split"] or None,
        view=View.PLAX,
        references=tuple(
            ReferenceValue(DIASTOLIC[line.calc], line.value_mm, SOURCE) for line in lines if line.calc in DIASTOLIC
        ),
        spacing=spacing,
        spacing_reason=reason,
        size=_frame_size(rows[0]),
        walls=(tracing,) if tracing else (),
        labels={line.calc: f"{line.value_mm:g} mm" for line in lines if line.calc not in DIASTOLIC},
    )


def _frame_size(row: Row) -> Size | None:
    height, width = whole_number(row["Height"]), whole_number(row["Width"])
    return (height, width) if height and width else None


def inspect_echonet_lvh(inspection: Inspection) -> None:
    """Check files, counts, splits, lines inside the frame, recovered spacing, and whether videos can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    root = inspection.root
    EchoNetLvh(root)
    table = root / LIST_FILE
    tally = SplitTally(inspection, table, SPLITS)
    places = video_places(root)
    for batch in BATCHES:
        if not (root / batch).is_dir():
            inspection.error("missing folder", root / batch, "is not there", "unpack the whole archive")
    listed: list[ListedClip] = []
    refusals: dict[str, int] = {}
    for name, rows in rows_by_video(table):
        splits = {row["split"] for row in rows}
        tally.add(name, None, rows[0]["split"])
        if len(splits) > 1:
            problem = f"{name} is in the splits {', '.join(sorted(splits))}"
            inspection.error("video in two splits", table, problem, "take the official table, unchanged")
        listed.append(ListedClip(places.get(name, root / BATCHES[0] / name), _frame_size(rows[0]), _frames(rows[0])))
        reason = _inspect_lines(inspection, name, rows)
        if reason:
            refusals[reason] = refusals.get(reason, 0) + 1
    inspection.counted |= {"videos": len(listed), "videos with spacing": len(listed) - sum(refusals.values())}
    inspection.compare_count("videos", PUBLISHED_VIDEOS, "echonet.github.io/lvh", is_round=True)
    for reason, count in refusals.items():
        problem = f"{count} of {len(listed)} videos have no spacing: {reason}"
        inspection.note("spacing refused", table, problem, "nothing in them is given in mm except what was measured")
    there = check_presence(inspection, listed, places.values())
    check_readable(inspection, there)


def _frames(row: Row) -> int | None:
    return whole_number(row.get("Frames", ""))


def _inspect_lines(inspection: Inspection, name: str, rows: Sequence[Row]) -> str:
    """Report wrong lines of a video; returns why it has no spacing, in a form without numbers, or ""."""
    table = inspection.root / LIST_FILE
    lines = wall_lines(rows)
    if len(lines) < len(rows):
        problem = f"{name}: {len(rows) - len(lines)} of {len(rows)} rows lack a length, a frame or an end"
        inspection.warn("measured line", table, problem, "these rows are passed over")
    size, frames = _frame_size(rows[0]), _frames(rows[0])
    for line in lines:
        ends = (line.upper_xy, line.lower_xy)
        if size is not None and any(not (-1 <= x <= size[1] and -1 <= y <= size[0]) for x, y in ends):
            problem = f"{name}: {line.calc} reaches outside the frame of {size[1]} x {size[0]} pixels"
            inspection.error("measured line outside", table, problem, "leave it out: its points are not pixels of it")
        if frames is not None and not 0 <= line.frame < frames:
            problem = f"{name}: {line.calc} lies on frame {line.frame}, the video has {frames}"
            inspection.error("measured frame", table, problem, "leave it out")
    _, gap_px = wall_tracing(lines)
    if gap_px > MOST_GAP_PX:
        problem = f"{name}: septum, cavity and posterior wall end {gap_px:.0f} pixels apart"
        inspection.warn("walls do not meet", table, problem, "look at it before use")
    spacing, reason = recover_spacing(lines)
    if spacing is None and "disagree" in reason:
        inspection.warn("spacing", table, f"{name}: {reason}", "its spacing is refused; lengths as measured stay")
    return reason.split(":")[0]
