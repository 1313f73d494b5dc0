"""EchoNet-Pediatric: apical four-chamber and parasternal short-axis videos of children, with EF and the LV traced.

Reddy et al., J Am Soc Echocardiogr 2023, doi 10.1016/j.echo.2023.01.015; Stanford's research use agreement,
non-commercial. The official layout has a folder per view, ``A4C`` and ``PSAX``, each with

* ``FileList.csv``: ``FileName`` (``PATIENT-ACCESSION-INSTANCE.avi``), ``EF`` in percent, ``Sex``, ``Age`` in years,
  ``Weight``, ``Height``, ``Split``: a fold from 0 to 9, for cross-validation;
* ``VolumeTracings.csv``: ``FileName``, ``X``, ``Y``, ``Frame``: the corners of the LV outline in order. ``Frame`` is a
  number, or ``No Systolic`` / ``No Diastolic``;
* ``Videos/*.avi``.

Confirmed from the evaluation code of the paper's authors (columns, folds, names) and from several independent loaders
(tracings). Not confirmed by an official page: the numbers of videos and patients (others write 7,643 and 1,958), units
of weight and height, and whether ``Frame`` counts from 0, as is taken here (loaders of others differ). ``PSAX`` does
not tell the level, so only A4C has a view. There is no pixel spacing.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from echoapex.data.datasets.echonet_dynamic import (
    LIST_FILE,
    TRACING_FILE,
    VIDEO_FOLDER,
    check_ejection_fraction,
    outlines_by_area,
    reference_values,
)
from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    Row,
    SplitTally,
    number,
    read_rows,
    require_split,
    video_name,
    whole_number,
)
from echoapex.vocabulary import View

VIEW_FOLDERS = {"A4C": View.A4C, "PSAX": None}
SPLITS = tuple(str(fold) for fold in range(10))
SOURCE = "EchoNet-Pediatric FileList.csv, from the clinical tracings"
NO_SPACING = "the authors resized the videos and give no pixel spacing"
UNTRACED_FRAMES = frozenset({"No Systolic", "No Diastolic"})

_LIST_COLUMNS = ("FileName", "EF", "Sex", "Age", "Weight", "Height", "Split")
_TRACING_COLUMNS = ("FileName", "X", "Y", "Frame")
_LABELS = {"Sex": "sex", "Age": "age_years", "Weight": "weight", "Height": "height"}

Polygons = Mapping[int, Float[np.ndarray, "points 2"]]


class EchoNetPediatric:
    """The data set in its official layout, both views or one of them.

    Raises:
        DatasetError: neither ``A4C/FileList.csv`` nor ``PSAX/FileList.csv`` is in ``root``.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        self.folders = tuple(folder for folder in VIEW_FOLDERS if (root / folder / LIST_FILE).is_file())
        if not self.folders:
            raise DatasetError(
                f"{root}: holds neither A4C/{LIST_FILE} nor PSAX/{LIST_FILE}; give the folder that holds A4C and PSAX"
            )
        self.root = root
        self._polygons: dict[str, dict[str, Polygons]] = {}

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The videos of a fold, A4C before PSAX, in the order of ``FileList.csv``.

        Raises:
            DatasetError: the fold is unknown, or a table is damaged.
        """
        require_split(split, SPLITS)
        for folder in self.folders:
            if folder not in self._polygons:
                self._polygons[folder] = read_polygons(self.root / folder / TRACING_FILE)
            for row in read_rows(self.root / folder / LIST_FILE, _LIST_COLUMNS):
                if split in (ALL, row["Split"]):
                    yield self._record(folder, row)

    def _record(self, folder: str, row: Row) -> DatasetClip:
        name = video_name(row["FileName"])
        return DatasetClip(
            name=f"{folder}/{name}",
            path=self.root / folder / VIDEO_FOLDER / name,
            patient=patient_of(name),
            split=row["Split"] or None,
            view=VIEW_FOLDERS[folder],
            references=reference_values(row, SOURCE),
            spacing_reason=NO_SPACING,
            outlines=outlines_by_area(self._polygons[folder].get(name, {})),
            labels={key: row[column] for column, key in _LABELS.items() if row[column]} | {"view_folder": folder},
        )


def patient_of(name: str) -> str | None:
    """The patient's part of ``PATIENT-ACCESSION-INSTANCE.avi``; None where the name is built in another way.

    >>> patient_of("CR32a7555-CR32a7582-000039.avi")
    'CR32a7555'
    """
    parts = name.removesuffix(".avi").split("-")
    return parts[0] if len(parts) == 3 else None


def read_polygons(path: Path) -> dict[str, Polygons]:
    """The outlines by video and frame; rows that say that a phase was not traced are passed over.

    Raises:
        DatasetError: the table is missing or damaged.
    """
    rows: defaultdict[str, defaultdict[int, array[float]]] = defaultdict(lambda: defaultdict(lambda: array("d")))
    for line, row in enumerate(read_rows(path, _TRACING_COLUMNS), start=2):
        if row["Frame"] in UNTRACED_FRAMES:
            continue
        frame, x, y = whole_number(row["Frame"]), number(row["X"]), number(row["Y"])
        if frame is None or x is None or y is None:
            if not (row["X"] or row["Y"]):
                continue
            raise DatasetError(f"{path.name}, line {line}: holds no frame and point; download it again")
        rows[video_name(row["FileName"])][frame].extend((x, y))
    return {
        video: {frame: np.array(corners).reshape(-1, 2) for frame, corners in by.items() if len(corners) >= 6}
        for video, by in rows.items()
    }


def inspect_echonet_pediatric(inspection: Inspection) -> None:
    """Check files, folds, patients, tracings and whether videos can be read, view by view.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    dataset = EchoNetPediatric(inspection.root)
    there: list[ListedClip] = []
    # one child may have both views, and must be in one fold only
    tally = SplitTally(inspection, inspection.root, SPLITS)
    for folder in VIEW_FOLDERS:
        if folder not in dataset.folders:
            path = inspection.root / folder / LIST_FILE
            inspection.warn("missing view", path, f"the view {folder} is not there", "unpack the whole archive")
            continue
        there += _inspect_view(inspection, inspection.root / folder, tally)
    inspection.counted |= {"patients": tally.groups}
    inspection.note("spacing", ".", NO_SPACING, "use it for EF and shape; nothing in it can be measured in mm")
    inspection.note("count", ".", "no official page that could be read tells how many there are", "none is needed")
    check_readable(inspection, there)


def _inspect_view(inspection: Inspection, folder: Path, tally: SplitTally) -> list[ListedClip]:
    table, tracing_table = folder / LIST_FILE, folder / TRACING_FILE
    listed: list[ListedClip] = []
    for row in read_rows(table, _LIST_COLUMNS):
        name = video_name(row["FileName"])
        patient = patient_of(name)
        if patient is None:
            problem = f"{name} is not named PATIENT-ACCESSION-INSTANCE, so its patient is not known"
            inspection.warn("file name", table, problem, "take the official files under their own names")
        tally.add(f"{folder.name}/{name}", patient, row["Split"])
        check_ejection_fraction(inspection, table, row)
        listed.append(ListedClip(folder / VIDEO_FOLDER / name))
    inspection.counted[f"{folder.name} videos"] = len(listed)
    there = check_presence(inspection, listed, sorted((folder / VIDEO_FOLDER).glob("*.avi")))
    try:
        polygons = read_polygons(tracing_table)
    except DatasetError as error:
        inspection.error("tracings", tracing_table, str(error), "without it there are no outlines; download it again")
        return there
    names = {clip.path.name for clip in listed}
    for video in polygons.keys() - names:
        inspection.warn(
            "tracing of an unlisted video", tracing_table, f"{video} is not in {LIST_FILE}", "take one release"
        )
    partly = sum(len(polygons.get(name, {})) < 2 for name in names)
    if partly:
        problem = f"{partly} of {len(names)} videos lack an outline of ED or ES (No Diastolic, No Systolic)"
        inspection.note("untraced videos", tracing_table, problem, "use them for EF, not for outlines")
    return there
