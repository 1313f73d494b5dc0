"""Your own clips: any files that EchoApex reads, and one table ``clips.csv`` beside them.

Columns of ``clips.csv``; only ``file`` is needed, an empty cell means unknown, further columns become labels:

=============== ==================================================================================================
``file``        the clip, below the folder: DICOM, video, image or volume
``patient``     a name that tells patients apart; no real name, please. The patient is the unit of splits and intervals
``view``        one of EchoApex's views, as in ``A4C`` or ``PSAX_PM``
``split``       ``train``, ``val`` or ``test``
``ef_percent``  ejection fraction in percent
``edv_ml``      end-diastolic volume in mL
``esv_ml``      end-systolic volume in mL
``ivsd_mm``     septum at end-diastole in mm
``lvidd_mm``    LV diameter at end-diastole in mm
``lvpwd_mm``    posterior wall at end-diastole in mm
``row_mm``      height of a pixel in mm, where the file itself carries no calibration
``column_mm``   width of a pixel in mm
``outlines``    label map of a still as a PNG below the folder, or a folder with one PNG per outlined frame, named by
                the frame's number from 0 (``12.png``); values of ``Structure``, 0 elsewhere, size of the frame
``outlined``    the structures that were looked for, as in ``lv_cavity left_atrium``: of these alone an empty map means
                absent; the others stay unknown
``source``      where the values come from, in words
=============== ==================================================================================================
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    ClipRecord,
    DatasetError,
    LabelMaps,
    ReferenceValue,
    Row,
    SplitTally,
    number,
    plain_name,
    read_frame_size,
    read_rows,
    require_split,
)
from echoapex.domain import Spacing
from echoapex.vocabulary import Quantity, Structure, View

LIST_FILE = "clips.csv"
SPLITS = ("train", "val", "test")
VALUES = {
    "ef_percent": Quantity.LVEF,
    "edv_ml": Quantity.EDV,
    "esv_ml": Quantity.ESV,
    "ivsd_mm": Quantity.IVSD,
    "lvidd_mm": Quantity.LVIDD,
    "lvpwd_mm": Quantity.LVPWD,
}
COLUMNS = ("file", "patient", "view", "split", *VALUES, "row_mm", "column_mm", "source", "outlines", "outlined")
OTHER_NAMES = {
    "file": ("filename", "filepath", "path", "clip", "video"),
    "patient": ("patientid", "patientname", "subject", "subjectid"),
    "view": ("viewname", "viewlabel", "echoview"),
    "split": ("splitname", "partition"),
    "ef_percent": ("ef", "lvef", "efpct", "ejectionfraction", "lvefpercent"),
    "edv_ml": ("edv", "lvedv", "lvedvml", "enddiastolicvolume"),
    "esv_ml": ("esv", "lvesv", "lvesvml", "endsystolicvolume"),
    "ivsd_mm": ("ivs", "ivsd"),
    "lvidd_mm": ("lvid", "lvidd", "lvedd"),
    "lvpwd_mm": ("lvpw", "lvpwd", "pwd"),
}
"""What else people call a column, without case and signs."""
_SURELY, _PERHAPS = 0.85, 0.75
"""How alike (0 to 1) a name must be to a column to be refused, and to be asked about by the check."""
RENAME = f"rename it in your {LIST_FILE}"
NO_SPACING = f"{LIST_FILE} gives none; the file itself may"


class ClipFolder:
    """A folder with ``clips.csv``.

    Raises:
        DatasetError: ``clips.csv`` is not in ``root``.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        if not (root / LIST_FILE).is_file():
            raise DatasetError(f"{root}: holds no {LIST_FILE}; write one with the columns {', '.join(COLUMNS)}")
        self.root = root

    def records(self, split: str = ALL) -> Iterator[ClipRecord]:
        """The clips of a split, in the order of the table.

        Raises:
            DatasetError: the split is unknown, or a row names an unknown view or split or a value that is none.
        """
        require_split(split, SPLITS)
        table = self.root / LIST_FILE
        misnamed = misnamed_columns(read_columns(table), _SURELY)
        if misnamed:
            raise DatasetError(f"{LIST_FILE}: {'; '.join(map(_asked, misnamed.items()))} {RENAME.capitalize()}")
        for line, row in enumerate(read_rows(table, ("file",), RENAME), start=2):
            problems = row_problems(row, self.root)
            if problems:
                raise DatasetError(f"{LIST_FILE}, line {line}: {'; '.join(problems)}; correct the row")
            if split == ALL or row.get("split") == split:
                yield self._record(row)

    def _record(self, row: Row) -> ClipRecord:
        source = row.get("source") or LIST_FILE
        values = ((quantity, number(row.get(column, ""))) for column, quantity in VALUES.items())
        spacing = row_spacing(row)
        return ClipRecord(
            name=row["file"],
            path=self.root / row["file"],
            patient=row.get("patient") or None,
            split=row.get("split") or None,
            view=View(row["view"]) if row.get("view") else None,
            references=tuple(
                ReferenceValue(quantity, value, source) for quantity, value in values if value is not None
            ),
            spacing=spacing,
            spacing_reason="" if spacing else NO_SPACING,
            labels={column: text for column, text in row.items() if column not in COLUMNS and text},
            label_source=partial(read_outlines, self.root, row["outlines"], row["file"])
            if row.get("outlines")
            else None,
            outlined=tuple(Structure.from_key(name) for name in row.get("outlined", "").split()),
        )


def read_outlines(root: Path, outlines: str, file: str) -> LabelMaps:
    """The label maps of one row by frame, in native pixels.

    Raises:
        DatasetError: a map cannot be read, has a value that is no structure, or has another size than its clip.
    """
    place, size = root / outlines, read_frame_size(root / file)
    paths = {int(path.stem): path for path in place.glob("*.png") if path.stem.isdecimal()}
    maps: LabelMaps = {}
    for frame, path in sorted((paths if place.is_dir() else {0: place}).items()):
        name = path.relative_to(root)
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise DatasetError(f"{name}: is no PNG of 8-bit labels; write one grey value per structure")
        if labels.shape != size:
            raise DatasetError(
                f"{name}: is {labels.shape[1]} x {labels.shape[0]}, its clip {size[1]} x {size[0]}; make them the same"
            )
        if labels.max(initial=0) > max(Structure):
            raise DatasetError(f"{name}: has the value {labels.max()}, but structures go from 1 to {max(Structure)}")
        maps[frame] = np.asarray(labels, np.uint8)
    if not maps:
        raise DatasetError(f"{outlines}: holds no PNG named by a frame's number; name them 0.png, 12.png and so on")
    return maps


def row_spacing(row: Row) -> Spacing | None:
    """The pixel size of a row, where it has both sides."""
    height_mm, width_mm = number(row.get("row_mm", "")), number(row.get("column_mm", ""))
    return Spacing(height_mm, width_mm) if height_mm and width_mm and min(height_mm, width_mm) > 0 else None


def row_problems(row: Row, root: Path) -> list[str]:
    """What is wrong with a row, in words; empty when nothing is."""
    problems = []
    if not row["file"]:
        problems.append("the column file is empty")
    elif not (root / row["file"]).resolve().is_relative_to(root.resolve()):
        problems.append(f"file {row['file']!r} lies outside the folder")
    if row.get("view") and row["view"] not in set(View):
        close = difflib.get_close_matches(row["view"].upper(), [view.value for view in View], n=1)
        problems.append(f"view {row['view']!r} is unknown" + (f", did you mean {close[0]}?" if close else ""))
    if row.get("split") and row["split"] not in SPLITS:
        problems.append(f"split {row['split']!r} is none of {', '.join(SPLITS)}")
    for column, quantity in VALUES.items():
        text = row.get(column, "")
        value = number(text)
        low, high = quantity.plausible_range
        if text and value is None:
            problems.append(f"{column} {text!r} is no number")
        elif value is not None and not low <= value <= high:
            problems.append(f"{column} {value:g} is not between {low:g} and {high:g} {quantity.unit}")
    known = {structure.key for structure in Structure}
    strange = [name for name in row.get("outlined", "").split() if name not in known]
    if strange:
        problems.append(f"outlined names {strange[0]!r}, which is none of {', '.join(sorted(known))}")
    if bool(row.get("outlines")) != bool(row.get("outlined", "").split()):
        problems.append("outlines and outlined belong together")
    elif row.get("outlines") and not (root / row["outlines"]).resolve().is_relative_to(root.resolve()):
        problems.append(f"outlines {row['outlines']!r} lie outside the folder")
    elif row.get("outlines") and not (root / row["outlines"]).exists():
        problems.append(f"outlines {row['outlines']!r} are not there")
    if bool(row.get("row_mm")) != bool(row.get("column_mm")):
        problems.append("row_mm and column_mm belong together")
    elif row.get("row_mm") and row_spacing(row) is None:
        problems.append(f"row_mm {row['row_mm']!r} and column_mm {row['column_mm']!r} are not both positive numbers")
    return problems


def read_columns(path: Path) -> list[str]:
    """The heading line of a table; a byte order mark, which spreadsheets write, is no part of it.

    Raises:
        DatasetError: it cannot be read, or is no text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name}: is no CSV text in UTF-8 ({error}); save it as one") from error


def misnamed_columns(columns: Sequence[str], likeness: float) -> dict[str, str]:
    """Columns that are not known, with the known one that each is probably meant to be; of those that are not there.

    >>> misnamed_columns(["file", "EF", "view_name", "ward"], 0.85)
    {'EF': 'ef_percent', 'view_name': 'view'}

    Args:
        columns: the heading of the table.
        likeness: how alike, from 0 to 1, a name must be to the known one where it is no usual other name.
    """
    absent = {plain_name(column): column for column in COLUMNS if column not in columns}
    others = {name: column for column, names in OTHER_NAMES.items() for name in names if column not in columns}
    found: dict[str, str] = {}
    for column in columns:
        name = plain_name(column)
        close = difflib.get_close_matches(name, absent, n=1, cutoff=likeness)
        if column not in COLUMNS and (name in others or close):
            found[column] = others[name] if name in others else absent[close[0]]
    return found


def _asked(misnamed: tuple[str, str]) -> str:
    return f"unknown column {misnamed[0]!r}; did you mean {misnamed[1]!r}?"


def inspect_folder(inspection: Inspection) -> None:
    """Check columns, rows, files, patients, splits, and whether clips can be read.

    Raises:
        DatasetError: there is no ``clips.csv``.
    """
    root = inspection.root
    ClipFolder(root)
    table = root / LIST_FILE
    tally = SplitTally(inspection, table, ())
    listed: list[ListedClip] = []
    columns = read_columns(table)
    misnamed = misnamed_columns(columns, _SURELY)
    for each in misnamed.items():
        inspection.error("column", table, _asked(each).rstrip("?"), RENAME)
    for column, known in misnamed_columns(columns, _PERHAPS).items():
        if column not in misnamed:
            problem = f"the column {column!r} is kept as a label; did you mean {known!r}?"
            inspection.warn("column", table, problem, "rename it")
    if "file" in misnamed.values():
        return
    not_apical: list[int] = []
    for line, row in enumerate(read_rows(table, ("file",), RENAME), start=2):
        problems = row_problems(row, root)
        for problem in problems:
            inspection.error("row", table, f"line {line}: {problem}", "correct the row")
        if problems:
            continue
        tally.add(row["file"], row.get("patient") or None, row.get("split") or None)
        listed.append(ListedClip(root / row["file"]))
        if row.get("split") and not row.get("patient"):
            problem = f"line {line}: has a split but no patient, so nobody can tell whether splits share patients"
            inspection.warn("patient", table, problem, "fill the column patient")
        if row.get("ef_percent") and row.get("view") and not View(row["view"]).is_apical:
            not_apical.append(line)
    if not_apical:
        rows = f"{len(not_apical)} rows (first: line {not_apical[0]})"
        problem = f"{rows} have an ejection fraction and a view that is not apical"
        inspection.warn("view of an ejection fraction", table, problem, "it is not learned from them; check the view")
    inspection.counted |= {"clips": len(listed), "patients": tally.groups}
    check_readable(inspection, check_presence(inspection, listed, ()))
