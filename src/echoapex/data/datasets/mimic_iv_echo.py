"""MIMIC-IV-ECHO: whole transthoracic studies as DICOM, with patients of MIMIC-IV and, from version 1.0, measurements.

Gow et al., PhysioNet, doi 10.13026/nrjh-5r77 (version 1.0) and 10.13026/ef48-v217 (0.1); credentialed access under
PhysioNet's licence. The official layout is

* ``echo-record-list.csv``: ``subject_id``, ``study_id``, ``acquisition_datetime``, ``dicom_filepath``
  (``files/p10/p10690270/s95240362/95240362_0001.dcm``);
* ``echo-study-list.csv``: ``subject_id``, ``study_id``, ``study_datetime``, and from 1.0 ``measurement_id``;
* ``structured-measurement.csv.gz`` (1.0): ``subject_id``, ``measurement_id``, ``measurement_datetime``,
  ``test_type``, ``measurement``, ``measurement_description``, ``result``, ``unit``;
* ``files/`` and ``SHA256SUMS.txt``.

Confirmed from PhysioNet's pages (7,243 studies, 4,579 patients, more than 500,000 DICOM files) and from independent
loaders (columns, paths). Not confirmed: that ``lvef`` is always in percent; a value that is no percentage is passed
over. There are no splits and no view labels. Spacing and times are in each DICOM file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_clip
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    ReferenceValue,
    Row,
    number,
    read_rows,
    require_split,
)
from echoapex.vocabulary import Quantity

RECORD_LIST, STUDY_LIST, DIGEST_FILE = "echo-record-list.csv", "echo-study-list.csv", "SHA256SUMS.txt"
MEASUREMENT_FILES = ("structured-measurement.csv.gz", "structured-measurement.csv")
PUBLISHED_STUDIES, PUBLISHED_PATIENTS, PUBLISHED_FILES_AT_LEAST = 7_243, 4_579, 500_000
EF_SOURCE = "MIMIC-IV-ECHO structured measurement 'lvef', reported for the study or one within days of it"
SPACING_IN_FILE = "the calibration is in the DICOM file; open the clip to read it"

_RECORD_COLUMNS = ("subject_id", "study_id", "acquisition_datetime", "dicom_filepath")
_STUDY_COLUMNS = ("subject_id", "study_id", "study_datetime")
_MEASUREMENT_COLUMNS = ("measurement_id", "measurement", "result")


class MimicIvEcho:
    """The data set in its official layout; the list of records is streamed.

    Raises:
        DatasetError: ``echo-record-list.csv`` is not in ``root``.
    """

    split_names: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        if not (root / RECORD_LIST).is_file():
            raise DatasetError(f"{root}: holds no {RECORD_LIST}; give the folder that holds it and files/")
        self.root = root
        self._ef_percent: Mapping[str, float] | None = None

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """All DICOM files, in the order of the list; there are no splits.

        Raises:
            DatasetError: a split is asked for, or a table is damaged.
        """
        require_split(split, ())
        if self._ef_percent is None:
            self._ef_percent = read_ejection_fractions(self.root)
        for row in read_rows(self.root / RECORD_LIST, _RECORD_COLUMNS):
            yield self._record(row, self._ef_percent.get(row["study_id"]))

    def _record(self, row: Row, ef_percent: float | None) -> DatasetClip:
        return DatasetClip(
            name=row["dicom_filepath"],
            path=self.root / row["dicom_filepath"],
            patient=row["subject_id"] or None,
            references=() if ef_percent is None else (ReferenceValue(Quantity.LVEF, ef_percent, EF_SOURCE),),
            spacing_reason=SPACING_IN_FILE,
            labels={"study": row["study_id"], "acquired": row["acquisition_datetime"]},
        )


def read_ejection_fractions(root: Path) -> dict[str, float]:
    """EF in percent by study, where version 1.0's measurements are there; the first of a measurement counts.

    Raises:
        DatasetError: a table is damaged.
    """
    table = next((root / name for name in MEASUREMENT_FILES if (root / name).is_file()), None)
    if table is None or not (root / STUDY_LIST).is_file():
        return {}
    studies: dict[str, list[str]] = {}
    for row in read_rows(root / STUDY_LIST, _STUDY_COLUMNS):
        if row.get("measurement_id"):
            studies.setdefault(row["measurement_id"], []).append(row["study_id"])
    found: dict[str, float] = {}
    for row in read_rows(table, _MEASUREMENT_COLUMNS):
        if row["measurement"] != "lvef" or row["measurement_id"] not in studies:
            continue
        ef_percent = number(row["result"])
        if ef_percent is not None and 0 < ef_percent < 100:
            for study in studies[row["measurement_id"]]:
                found.setdefault(study, ef_percent)
    return found


def inspect_mimic_iv_echo(inspection: Inspection) -> None:
    """Check files, counts, names against patients and studies, digests, and whether DICOM files can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    root = inspection.root
    MimicIvEcho(root)
    studies: dict[str, str] = {}
    # names, not paths: half a million paths would take some 300 MB
    there: list[str] = []
    listed = 0
    for row in read_rows(root / RECORD_LIST, _RECORD_COLUMNS):
        listed += 1
        path = root / row["dicom_filepath"]
        _inspect_row(inspection, row, studies)
        if path.is_file():
            there.append(row["dicom_filepath"])
        else:
            inspection.error("missing file", path, "is listed but not there", "download it again, or the whole study")
    inspection.usable = len(there)
    inspection.counted |= {"files": listed, "studies": len(studies), "patients": len(set(studies.values()))}
    inspection.compare_count("studies", PUBLISHED_STUDIES, "physionet.org")
    inspection.compare_count("patients", PUBLISHED_PATIENTS, "physionet.org")
    if listed < PUBLISHED_FILES_AT_LEAST:
        problem = f"{listed} files are listed, published are more than {PUBLISHED_FILES_AT_LEAST} (physionet.org)"
        inspection.warn("count of files", RECORD_LIST, problem, "take the official list, complete")
    _inspect_study_list(inspection, studies)
    if not any((root / name).is_file() for name in MEASUREMENT_FILES):
        problem = f"{MEASUREMENT_FILES[0]} is not there (it comes with version 1.0), so no study has an EF"
        inspection.note("measurements", MEASUREMENT_FILES[0], problem, "download version 1.0 if EF is wanted")
    _inspect_digests(inspection, there)
    for name in inspection.chosen(there):
        check_clip(inspection, ListedClip(root / name))


def _inspect_row(inspection: Inspection, row: Row, studies: dict[str, str]) -> None:
    patient, study, path = row["subject_id"], row["study_id"], row["dicom_filepath"]
    remedy = "take the official list, unchanged"
    if f"/p{patient}/s{study}/" not in f"/{path}":
        problem = f"{path} does not lie below p{patient}/s{study}, where its patient and study belong"
        inspection.error("file path", RECORD_LIST, problem, remedy)
    earlier = studies.setdefault(study, patient)
    if earlier != patient:
        inspection.error(
            "study of two patients", RECORD_LIST, f"study {study} belongs to {earlier} and {patient}", remedy
        )


def _inspect_study_list(inspection: Inspection, studies: Mapping[str, str]) -> None:
    path = inspection.root / STUDY_LIST
    if not path.is_file():
        inspection.warn("missing table", path, "is not there, so studies have no date and no EF", "download it")
        return
    described = set()
    for row in read_rows(path, _STUDY_COLUMNS):
        described.add(row["study_id"])
        if studies.get(row["study_id"], row["subject_id"]) != row["subject_id"]:
            problem = f"study {row['study_id']} belongs to another patient than in {RECORD_LIST}"
            inspection.error("study of two patients", path, problem, "take both lists of one version")
    missing = studies.keys() - described
    if missing:
        problem = f"{len(missing)} studies of {RECORD_LIST} are not in it"
        inspection.warn("undescribed studies", path, problem, "take both lists of one version")


def _inspect_digests(inspection: Inspection, names: Sequence[str]) -> None:
    """Hold a sample of the files (or all) and the tables against ``SHA256SUMS.txt``, which is streamed."""
    root, path = inspection.root, inspection.root / DIGEST_FILE
    if not path.is_file():
        inspection.note("digests", path, "is not there, so files cannot be checked bit by bit", "download it")
        return
    wanted = {name for name in (RECORD_LIST, STUDY_LIST) if (root / name).is_file()} | set(inspection.chosen(names))
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            digest, _, name = line.strip().partition(" ")
            name = name.strip(" *")
            if name not in wanted:
                continue
            wanted.discard(name)
            with (root / name).open("rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != digest:
                    problem = "is not the published file, bit by bit"
                    inspection.error("digest", root / name, problem, "download it again")
    for name in sorted(wanted):
        inspection.warn("digest missing", root / name, f"is not in {DIGEST_FILE}", "take the digests of this version")
