"""HMC-QU: apical four- and two-chamber videos of patients with and without myocardial infarction.

Degerli et al., Biomedical Signal Processing and Control 2024, doi 10.1016/j.bspc.2023.105448; on Kaggle
(aysendegerli/hmcqu-dataset). The official layout is

* ``HMC-QU/A4C/*.avi`` (162) and ``HMC-QU/A2C/*.avi`` (160), 25 frames a second;
* ``A4C.xlsx`` and ``A2C.xlsx``: ``ECHO`` (the video without ``.avi``), then one column per wall segment with its
  infarction label; in ``A4C.xlsx`` the last three columns are the first and the last frame of one cycle, counted from
  1, and ``LV Wall Ground-truth Segmentation Masks``, which holds ``ü`` where there is a mask;
* ``LV Ground-truth Segmentation Masks/Mask_<ECHO>.mat`` (109, A4C only) with ``predicted``: (frames, 224, 224), the LV
  wall over that cycle.

Excel files are not read (EchoApex brings no reader for them): save each sheet as CSV beside it, ``A4C.csv``.

Confirmed from copies of the Kaggle description (counts, frame rate, size of the masks) and from independent loaders
(columns by place, ``predicted``, ``ü``, frames from 1, names). Not confirmed: the headings of the segment columns and
of the two frames (read by their place), how labels are written (kept as they are), the licence, and that a mask covers
the whole frame, as is taken here to bring it to native pixels. There are no official splits and no pixel spacing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from jaxtyping import UInt8

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    LabelMaps,
    Row,
    read_frame_size,
    read_rows,
    require_split,
    video_name,
    whole_number,
)
from echoapex.vocabulary import Structure, View

VIEWS = {"A4C": View.A4C, "A2C": View.A2C}
VIDEO_FOLDER, MASK_FOLDER = "HMC-QU", "LV Ground-truth Segmentation Masks"
PUBLISHED_VIDEOS = {"A4C": 162, "A2C": 160}
PUBLISHED_MASKS = 109
NO_SPACING = "the videos carry no calibration"
MASK_ARRAY, MASK_MARK, MASK_COLUMN = "predicted", "ü", "LV Wall Ground-truth Segmentation Masks"
MASK_SIDE = 224


@dataclass(frozen=True)
class HmcQuRow:
    """One row of a sheet.

    Attributes:
        echo: the video without ``.avi``.
        segments: heading to infarction label, both as the sheet writes them.
        first_frame: first frame of the outlined cycle, from 0; None where the sheet has none.
        last_frame: its last frame, from 0.
        has_mask: whether the sheet promises a mask.
    """

    echo: str
    segments: dict[str, str]
    first_frame: int | None
    last_frame: int | None
    has_mask: bool


class HmcQu:
    """The data set in its official layout, with the sheets saved as CSV; either view may be missing.

    Raises:
        DatasetError: there is no sheet, or it is there as Excel only.
    """

    split_names: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sheets = {view: root / f"{view}.csv" for view in VIEWS if (root / f"{view}.csv").is_file()}
        if not self.sheets:
            excel = [f"{view}.xlsx" for view in VIEWS if (root / f"{view}.xlsx").is_file()]
            if excel:
                raise DatasetError(
                    f"{' and '.join(excel)}: Excel is not read; open each in a spreadsheet program and save its sheet "
                    "as CSV in UTF-8 under the same name (A4C.csv, A2C.csv) in the same folder"
                )
            raise DatasetError(f"{root}: holds neither A4C.csv nor A2C.csv; give the folder of HMC-QU/ and the sheets")

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """All videos, A4C before A2C, in the order of the sheets; there are no splits.

        Raises:
            DatasetError: a split is asked for, or a sheet is damaged.
        """
        require_split(split, ())
        for view, sheet in self.sheets.items():
            for row in read_sheet(sheet):
                yield self._record(view, row)

    def _record(self, view: str, row: HmcQuRow) -> DatasetClip:
        path = self.root / VIDEO_FOLDER / view / video_name(row.echo)
        mask = mask_path(self.root, row.echo)
        return DatasetClip(
            name=f"{view}/{path.name}",
            path=path,
            patient=patient_of(row.echo),
            view=VIEWS[view],
            spacing_reason=NO_SPACING,
            labels=row.segments,
            label_source=partial(read_native_masks, mask, path, row.first_frame or 0) if row.has_mask else None,
        )


def patient_of(echo: str) -> str:
    """The patient's part of a name, which both views share.

    >>> patient_of("ES0001 _4CH_1"), patient_of("ES0001_CH2_1")
    ('ES0001', 'ES0001')
    """
    return re.split(r"[_\s]", echo)[0]


def mask_path(root: Path, echo: str) -> Path:
    """Where the mask of a video lies."""
    return root / MASK_FOLDER / f"Mask_{echo}.mat"


def read_sheet(path: Path) -> Iterator[HmcQuRow]:
    """The rows of ``A4C.csv`` or ``A2C.csv``.

    Raises:
        DatasetError: the sheet is missing or has no column ``ECHO``.
    """
    for row in read_rows(path, ("ECHO",)):
        if row["ECHO"]:
            yield _sheet_row(row)


def _sheet_row(row: Row) -> HmcQuRow:
    columns = [column for column in row if column != "ECHO"]
    mark = columns.index(MASK_COLUMN) if MASK_COLUMN in columns else 0
    if mark < 2:
        return HmcQuRow(row["ECHO"], {column: row[column] for column in columns if column}, None, None, False)
    first, last = (whole_number(row[column]) for column in columns[mark - 2 : mark])
    return HmcQuRow(
        echo=row["ECHO"],
        segments={column: row[column] for column in columns[: mark - 2]},
        first_frame=None if first is None else first - 1,
        last_frame=None if last is None else last - 1,
        has_mask=row[MASK_COLUMN] == MASK_MARK,
    )


def read_masks(path: Path) -> UInt8[np.ndarray, "frames side side"]:
    """The LV wall over one cycle as the file has it: 1 inside, 0 outside.

    Raises:
        DatasetError: the file is missing, or does not hold the array.
    """
    try:
        masks = np.asarray(scipy.io.loadmat(path, variable_names=[MASK_ARRAY])[MASK_ARRAY])
    except KeyError as error:
        raise DatasetError(f"{path.name}: holds no array {MASK_ARRAY!r}; download it again") from error
    except (OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{path.name}: cannot be read ({error}); download it again") from error
    if masks.ndim != 3 or masks.shape[1:] != (MASK_SIDE, MASK_SIDE) or not len(masks):
        raise DatasetError(f"{path.name}: is {masks.shape}, not (frames, 224, 224); download it again")
    return (masks > 0).astype(np.uint8)


def read_native_masks(mask: Path, video: Path, first_frame: int) -> LabelMaps:
    """The LV wall by frame in native pixels: each mask is spread over the whole frame of its video.

    Raises:
        DatasetError: the mask or the video cannot be read.
    """
    height, width = read_frame_size(video)
    # the plain nearest mode of OpenCV would move every mask by up to half a pixel
    maps = (cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for one in read_masks(mask))
    return {
        first_frame + index: (one * int(Structure.LV_MYOCARDIUM)).astype(np.uint8) for index, one in enumerate(maps)
    }


def inspect_hmc_qu(inspection: Inspection) -> None:
    """Check files, counts, masks against the outlined cycles, and whether videos can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    root = inspection.root
    dataset = HmcQu(root)
    there: list[ListedClip] = []
    patients: set[str] = set()
    masked: list[HmcQuRow] = []
    for view in VIEWS:
        sheet = dataset.sheets.get(view)
        if sheet is None:
            problem = "is not there" + (", only as Excel" if (root / f"{view}.xlsx").is_file() else "")
            inspection.warn("missing sheet", root / f"{view}.csv", problem, "save the sheet as CSV under this name")
            continue
        rows = list(read_sheet(sheet))
        patients |= {patient_of(row.echo) for row in rows}
        masked += [row for row in rows if row.has_mask]
        inspection.counted[f"{view} videos"] = len(rows)
        inspection.compare_count(f"{view} videos", PUBLISHED_VIDEOS[view], "Kaggle description")
        folder = root / VIDEO_FOLDER / view
        listed = [ListedClip(folder / video_name(row.echo), frames=None) for row in rows]
        there += check_presence(inspection, listed, sorted(folder.glob("*.avi")))
    inspection.counted |= {"patients": len(patients), "masks": len(masked)}
    if "A4C" in dataset.sheets:
        inspection.compare_count("masks", PUBLISHED_MASKS, "Kaggle description")
    for row in inspection.chosen(masked):
        _inspect_mask(inspection, mask_path(root, row.echo), row)
    inspection.note("splits", ".", "there are no official splits", "split by patient, and publish the list")
    inspection.note("spacing", ".", NO_SPACING, "nothing in it can be measured in mm")
    check_readable(inspection, there)


def _inspect_mask(inspection: Inspection, path: Path, row: HmcQuRow) -> None:
    if not path.is_file():
        inspection.error("missing mask", path, "is promised by A4C.csv but not there", "download it again")
        return
    try:
        masks = read_masks(path)
    except DatasetError as error:
        inspection.error("mask", path, str(error), "download it again")
        return
    if not masks.any():
        inspection.warn("empty mask", path, "outlines nothing", "leave it out")
    if row.first_frame is None or row.last_frame is None:
        inspection.error("cycle", path, "A4C.csv gives no frames for it", "take the official sheet, unchanged")
    elif len(masks) != row.last_frame - row.first_frame + 1:
        problem = f"has {len(masks)} masks, A4C.csv gives {row.last_frame - row.first_frame + 1} frames"
        inspection.warn("cycle", path, problem, "take sheet and masks of one release")
