"""EchoNet-Dynamic: 10,030 apical four-chamber videos with EF, EDV, ESV and the LV traced at ED and ES.

Ouyang et al., Nature 2020, doi 10.1038/s41586-020-2145-8; Stanford's research use agreement, non-commercial. The
official layout is ``FileList.csv``, ``VolumeTracings.csv`` and ``Videos/*.avi``, 112 x 112 pixels:

* ``FileList.csv``: ``FileName`` (without ``.avi``), ``EF`` in percent, ``ESV`` and ``EDV`` in mL, ``FrameHeight``,
  ``FrameWidth``, ``FPS``, ``NumberOfFrames``, ``Split`` (``TRAIN``, ``VAL``, ``TEST``);
* ``VolumeTracings.csv``: ``FileName`` (with ``.avi``), ``X1``, ``Y1``, ``X2``, ``Y2``, ``Frame`` from 0. The first row
  of a frame is the long axis; each further row is a chord across the LV, from the apex to the mitral valve.

Confirmed from the authors' page (echonet.github.io/dynamic) and loader (github.com/echonet/dynamic). The split counts
are those of the paper's table as other projects repeat them. Not confirmed: that ``0X4F55DC7F6080587E``, which several
loaders of others leave out, is bad, and that every video is of another person, as others write and as is taken here.
Videos were resized by the authors, so there is no pixel spacing.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    Outline,
    ReferenceValue,
    Row,
    SplitTally,
    number,
    polygon_of_chords,
    read_rows,
    require_split,
    video_name,
    whole_number,
)
from echoapex.domain.clip import Size
from echoapex.vocabulary import Quantity, Structure, View

LIST_FILE, TRACING_FILE, VIDEO_FOLDER = "FileList.csv", "VolumeTracings.csv", "Videos"
SPLITS = ("TRAIN", "VAL", "TEST")
PUBLISHED_VIDEOS = 10_030
PUBLISHED_SPLITS = {"TRAIN": 7465, "VAL": 1288, "TEST": 1277}
SOURCE = "EchoNet-Dynamic FileList.csv, from the sonographer's tracings"
NO_SPACING = "the authors resized the videos to 112 x 112 pixels and give no pixel spacing"
DOUBTED = frozenset({"0X4F55DC7F6080587E.avi"})

_LIST_COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "NumberOfFrames", "Split")
_TRACING_COLUMNS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
_MOST_EF_GAP_PERCENT = 1.0
_MOST_UNTRACED_FRACTION = 0.01


@dataclass(frozen=True, eq=False)
class Tracing:
    """The LV as traced on one frame.

    Attributes:
        frame: frame number, from 0.
        long_axis_xy: the two ends of the long axis.
        chords_xy: the chords across the LV, from the apex to the mitral valve.
    """

    frame: int
    long_axis_xy: Float[np.ndarray, "2 2"]
    chords_xy: Float[np.ndarray, "chords 2 2"]

    @property
    def polygon_xy(self) -> Float[np.ndarray, "points 2"]:
        """The outline through the ends of the chords."""
        return polygon_of_chords(self.chords_xy)


class EchoNetDynamic:
    """The data set in its official layout; the two tables are read when they are needed.

    Raises:
        DatasetError: ``FileList.csv`` is not in ``root``.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        if not (root / LIST_FILE).is_file():
            raise DatasetError(f"{root}: holds no {LIST_FILE}; give the folder that holds it and {VIDEO_FOLDER}/")
        self.root = root
        self._tracings: Mapping[str, tuple[Tracing, ...]] | None = None

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The videos of a split, in the order of ``FileList.csv``.

        Raises:
            DatasetError: the split is unknown, or a table is damaged.
        """
        require_split(split, SPLITS)
        for row in read_rows(self.root / LIST_FILE, _LIST_COLUMNS):
            if split in (ALL, row["Split"].upper()):
                yield self._record(row)

    def tracings(self, video: str) -> tuple[Tracing, ...]:
        """The tracings of a video (``0X....avi``), by frame; empty where it has none. All are read at the first call.

        Raises:
            DatasetError: ``VolumeTracings.csv`` is missing or damaged.
        """
        if self._tracings is None:
            self._tracings = _read_tracings(self.root / TRACING_FILE)
        return self._tracings.get(video, ())

    def _record(self, row: Row) -> DatasetClip:
        name = video_name(row["FileName"])
        return DatasetClip(
            name=name,
            path=self.root / VIDEO_FOLDER / name,
            # one video of each person
            patient=name.removesuffix(".avi"),
            split=row["Split"].upper() or None,
            view=View.A4C,
            references=reference_values(row, SOURCE),
            spacing_reason=NO_SPACING,
            size=frame_size(row),
            outlines=outlines_by_area({one.frame: one.polygon_xy for one in self.tracings(name)}),
        )


def reference_values(row: Row, source: str) -> tuple[ReferenceValue, ...]:
    """EF in percent, EDV and ESV in mL, where the row of a ``FileList.csv`` has them."""
    columns = ((Quantity.LVEF, "EF"), (Quantity.EDV, "EDV"), (Quantity.ESV, "ESV"))
    values = ((quantity, number(row.get(column, ""))) for quantity, column in columns)
    return tuple(ReferenceValue(quantity, value, source) for quantity, value in values if value is not None)


def frame_size(row: Row) -> Size | None:
    """``(height, width)`` of a video, where the row has both."""
    height, width = whole_number(row.get("FrameHeight", "")), whole_number(row.get("FrameWidth", ""))
    return (height, width) if height and width else None


def outlines_by_area(polygons: Mapping[int, Float[np.ndarray, "points 2"]]) -> tuple[Outline, ...]:
    """LV outlines by frame; of exactly two the larger is ED and the smaller ES."""
    outlines = [Outline(frame, Structure.LV_CAVITY, polygon) for frame, polygon in sorted(polygons.items())]
    if len(outlines) != 2:
        return tuple(outlines)
    largest = max(outlines, key=lambda outline: outline.area_px)
    return tuple(
        Outline(one.frame, one.structure, one.polygon_xy, "ED" if one is largest else "ES") for one in outlines
    )


def _read_tracings(path: Path) -> dict[str, tuple[Tracing, ...]]:
    """All tracings; their numbers take about 15 MB for the whole data set."""
    rows: defaultdict[str, defaultdict[int, array[float]]] = defaultdict(lambda: defaultdict(lambda: array("d")))
    for line, row in enumerate(read_rows(path, _TRACING_COLUMNS), start=2):
        frame, ends = _tracing_row(row)
        if frame is None or ends is None:
            raise DatasetError(f"{path.name}, line {line}: holds no frame and four coordinates; download it again")
        rows[video_name(row["FileName"])][frame].extend(ends)
    return {video: tuple(_tracing(frame, ends) for frame, ends in by.items()) for video, by in rows.items()}


def _tracing_row(row: Row) -> tuple[int | None, tuple[float, ...] | None]:
    values = [number(row[column]) for column in ("X1", "Y1", "X2", "Y2")]
    ends = tuple(value for value in values if value is not None)
    return whole_number(row["Frame"]), ends if len(ends) == len(values) else None


def _tracing(frame: int, ends: array[float]) -> Tracing:
    chords = np.array(ends, dtype=np.float64).reshape(-1, 2, 2)
    return Tracing(frame, chords[0], chords[1:])


def inspect_echonet_dynamic(inspection: Inspection) -> None:
    """Check files, counts, splits, tracings, EF against volumes, and whether videos can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    root = inspection.root
    EchoNetDynamic(root)
    tally = SplitTally(inspection, root / LIST_FILE, SPLITS)
    listed: list[ListedClip] = []
    for row in read_rows(root / LIST_FILE, _LIST_COLUMNS):
        name = video_name(row["FileName"])
        tally.add(name, name, row["Split"].upper())
        check_ejection_fraction(inspection, root / LIST_FILE, row)
        listed.append(ListedClip(root / VIDEO_FOLDER / name, frame_size(row), whole_number(row["NumberOfFrames"])))
    inspection.counted |= {"videos": len(listed), "patients": tally.groups}
    inspection.compare_count("videos", PUBLISHED_VIDEOS, "echonet.github.io/dynamic")
    tally.compare(PUBLISHED_SPLITS, "Ouyang 2020")
    there = check_presence(inspection, listed, sorted((root / VIDEO_FOLDER).glob("*.avi")))
    _inspect_tracings(inspection, listed)
    inspection.note("spacing", LIST_FILE, NO_SPACING, "use it for EF and shape; nothing in it can be measured in mm")
    check_readable(inspection, there)


def check_ejection_fraction(inspection: Inspection, table: Path, row: Row) -> None:
    """EF is there, in range, and what EDV and ESV give."""
    ef_percent, edv_ml, esv_ml = (number(row.get(column, "")) for column in ("EF", "EDV", "ESV"))
    name, remedy = row["FileName"], "take the official table, unchanged"
    if ef_percent is None or not 0 < ef_percent < 100:
        inspection.error("ejection fraction", table, f"{name} has the EF {row.get('EF') or 'none'!r}", remedy)
        return
    if edv_ml is None or esv_ml is None or edv_ml <= 0:
        return
    from_volumes = 100 * (edv_ml - esv_ml) / edv_ml
    if abs(from_volumes - ef_percent) > _MOST_EF_GAP_PERCENT:
        problem = f"{name} has the EF {ef_percent:.1f} %, its EDV and ESV give {from_volumes:.1f} %"
        inspection.warn("ejection fraction against volumes", table, problem, remedy)


def _inspect_tracings(inspection: Inspection, listed: list[ListedClip]) -> None:
    path = inspection.root / TRACING_FILE
    try:
        tracings = _read_tracings(path)
    except DatasetError as error:
        inspection.error("tracings", path, str(error), "without it there are no outlines; download it again")
        return
    untraced = [clip.path.name for clip in listed if len(tracings.get(clip.path.name, ())) < 2]
    if untraced:
        report = inspection.note if len(untraced) <= _MOST_UNTRACED_FRACTION * len(listed) else inspection.warn
        report(
            "untraced videos",
            path,
            f"{len(untraced)} videos lack a tracing of ED or ES ({', '.join(untraced[:3])}, ...); the authors' loader "
            "leaves such videos out",
            "use them for EF, not for outlines",
        )
    by_name = {clip.path.name: clip for clip in listed}
    for video, frames in tracings.items():
        if video not in by_name:
            inspection.warn("tracing of an unlisted video", path, f"{video} is not in {LIST_FILE}", "take one release")
            continue
        for tracing in frames:
            _inspect_tracing(inspection, tracing, by_name[video])
        if video in DOUBTED:
            inspection.note("known case", path, f"{video} is left out by loaders of others", "look at it before use")


def _inspect_tracing(inspection: Inspection, tracing: Tracing, clip: ListedClip) -> None:
    where, path = f"{clip.path.name}, frame {tracing.frame}", inspection.root / TRACING_FILE
    if clip.frames is not None and not 0 <= tracing.frame < clip.frames:
        inspection.error("traced frame", path, f"{where}: the video has {clip.frames} frames", "take one release")
    if len(tracing.chords_xy) < 3:
        problem = f"{where}: has {len(tracing.chords_xy)} chords, too few for an outline"
        inspection.error("tracing", path, problem, "leave it out")
    elif clip.size is not None:
        height, width = clip.size
        x, y = tracing.chords_xy[..., 0], tracing.chords_xy[..., 1]
        if x.min() < -1 or y.min() < -1 or x.max() > width or y.max() > height:
            inspection.error(
                "tracing", path, f"{where}: reaches outside the frame", "leave it out, or take one release"
            )
