"""TMED-2: still images of transthoracic studies with view and aortic stenosis grade, for learning from few labels.

Huang et al., "TMED 2: A Dataset for Semi-Supervised Classification of Echocardiograms", DataPerf workshop at ICML 2022
(no DOI); Tufts' own data licence, academic research, on application. The official layout is a folder
``approved_users_only`` with

* ``DEV479``, ``DEV165``, ``DEV56``: suggested splits by the number of studies for development, each with
  ``TMED2_fold0_labeledpart.csv`` to ``fold2`` (and ``_unlabeledpart.csv``, which is not read): ``query_key`` (the
  file), ``view_label``, ``diagnosis_label``, ``view_classifier_split``, ``diagnosis_classifier_split`` (``train``,
  ``val``, ``test``), ``SourceFolder``;
* ``view_and_diagnosis_labeled_set/labeled/*.png`` and ``view_labeled_set/labeled/*.png``, 112 x 112 pixels, named
  ``<patient>s<study>_<image>.png``.

Confirmed from the authors' code (github.com/tufts-ml/tmed2-echocardiogram-classifiers), whose printed summary of the
first folder is the count that is checked: 576 patients, 598 studies, 17,270 labelled images. Not confirmed: counts of
the other folder. ``PSAX`` does not tell the level and ``A4CorA2CorOther`` no view, so these have no view here; the
label is kept as written. The authors resized the images, so there is no pixel spacing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import ALL, DatasetClip, DatasetError, Row, SplitTally, read_rows, require_split
from echoapex.vocabulary import View

APPROVED_FOLDER = "approved_users_only"
SPLITS = ("train", "val", "test")
VIEWS = {"PLAX": View.PLAX, "A4C": View.A4C, "A2C": View.A2C}
VIEW_LABELS = (*VIEWS, "PSAX", "A4CorA2CorOther", "Not_Provided")
DIAGNOSES = ("no_AS", "mild_AS", "mildtomod_AS", "moderate_AS", "severe_AS", "Not_Provided")
NO_SPACING = "the authors resized the images to 112 x 112 pixels and give no pixel spacing"
SIZE = (112, 112)
FULLY_LABELLED = "view_and_diagnosis_labeled_set/labeled"
PUBLISHED = {"patients": 576, "studies": 598, "images": 17_270}
DEFAULT_TABLE = "DEV479/TMED2_fold0_labeledpart.csv"

_COLUMNS = (
    "query_key",
    "view_label",
    "diagnosis_label",
    "view_classifier_split",
    "diagnosis_classifier_split",
    "SourceFolder",
)
_KEY = re.compile(r"(?P<patient>\d+)s(?P<study>\d+)_\d+\.png")


class Tmed2:
    """The labelled images of one suggested split.

    Args:
        root: ``approved_users_only``, or the folder that holds it.
        table: the suggested split.

    Raises:
        DatasetError: the table is not there.
    """

    split_names = SPLITS

    def __init__(self, root: Path, table: str = DEFAULT_TABLE) -> None:
        self.root = root / APPROVED_FOLDER if (root / APPROVED_FOLDER).is_dir() else root
        self.table = self.root / table
        if not self.table.is_file():
            raise DatasetError(
                f"{root}: holds no {table}; give the folder {APPROVED_FOLDER}, with DEV479 and the labelled sets in it"
            )

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The labelled images of a split (that of the view classifier), in the order of the table.

        Raises:
            DatasetError: the split is unknown, or the table is damaged.
        """
        require_split(split, SPLITS)
        for row in read_rows(self.table, _COLUMNS):
            if split in (ALL, row["view_classifier_split"]):
                yield self._record(row)

    def _record(self, row: Row) -> DatasetClip:
        key = row["query_key"]
        patient, study = patient_and_study(key)
        return DatasetClip(
            name=f"{row['SourceFolder']}/{key}",
            path=self.root / row["SourceFolder"] / key,
            patient=patient,
            split=row["view_classifier_split"] or None,
            view=VIEWS.get(row["view_label"]),
            spacing_reason=NO_SPACING,
            size=SIZE,
            labels={
                "view_label": row["view_label"],
                "diagnosis_label": row["diagnosis_label"],
                "study": study or "",
            },
        )


def patient_and_study(key: str) -> tuple[str | None, str | None]:
    """Patient, and patient with study, from a file name; None where it is named in another way.

    >>> patient_and_study("1009s2_12.png")
    ('1009', '1009s2')
    """
    match = _KEY.fullmatch(key)
    return (match["patient"], f"{match['patient']}s{match['study']}") if match else (None, None)


def inspect_tmed2(inspection: Inspection) -> None:
    """Check files, counts, labels, splits, patients, and whether images can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    dataset = Tmed2(inspection.root)
    table = dataset.table
    tally = SplitTally(inspection, table, SPLITS)
    listed: dict[Path, ListedClip] = {}
    studies: set[str] = set()
    patients: set[str] = set()
    images = 0
    for row in read_rows(table, _COLUMNS):
        patient, study = patient_and_study(row["query_key"])
        _inspect_row(inspection, table, row, patient)
        tally.add(row["query_key"], patient, row["view_classifier_split"])
        path = dataset.root / row["SourceFolder"] / row["query_key"]
        if path in listed:
            inspection.warn("image listed twice", table, f"{row['query_key']} is listed twice", "use it once")
        listed[path] = ListedClip(path, SIZE)
        if row["SourceFolder"] == FULLY_LABELLED:
            images += 1
            studies |= {study} if study else set()
            patients |= {patient} if patient else set()
    inspection.counted |= {"patients": len(patients), "studies": len(studies), "images": images}
    for what, published in PUBLISHED.items():
        inspection.compare_count(what, published, f"of {FULLY_LABELLED}, github.com/tufts-ml")
    inspection.counted["listed images"] = len(listed)
    folders = sorted({path.parent for path in listed})
    extra = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    there = check_presence(inspection, listed.values(), extra)
    inspection.note("spacing", table, NO_SPACING, "use it for views; nothing in it can be measured in mm")
    check_readable(inspection, there)


def _inspect_row(inspection: Inspection, table: Path, row: Row, patient: str | None) -> None:
    key, remedy = row["query_key"], "take the official table, unchanged"
    if patient is None:
        problem = f"{key!r} is not named PATIENTsSTUDY_IMAGE.png, so its patient is not known"
        inspection.error("file name", table, problem, remedy)
    if row["view_label"] not in VIEW_LABELS:
        inspection.error("view label", table, f"{key} has the view {row['view_label']!r}", remedy)
    if row["diagnosis_label"] not in DIAGNOSES:
        inspection.error("diagnosis label", table, f"{key} has the diagnosis {row['diagnosis_label']!r}", remedy)
    both = {row["view_classifier_split"], row["diagnosis_classifier_split"]}
    if row["SourceFolder"] == FULLY_LABELLED and len(both) > 1:
        problem = f"{key} is in {' and '.join(sorted(both))} for view and diagnosis"
        inspection.warn("two splits of one image", table, problem, remedy)
