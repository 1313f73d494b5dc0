"""A tiny MIMIC-IV-ECHO (version 1.0) of simulated studies, in the official layout."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

from dataset_findings import write_table

from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import StudyTruth
from echoapex.vocabulary import View

# study to subject; the first subject has two studies
STUDIES = {"94106955": "10002221", "94106956": "10002221", "97000001": "11000002"}
WITHOUT_MEASUREMENT = "97000001"


def write_tiny_mimic_iv_echo(root: Path) -> dict[str, StudyTruth]:
    """Three studies of two clips; returns the truth of each study."""
    truths: dict[str, StudyTruth] = {}
    records, studies, measurements = [], [], ["subject_id,measurement_id,measurement,result,unit"]
    for seed, (study, subject) in enumerate(STUDIES.items()):
        folder = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        folder.mkdir(parents=True)
        simulated = root / f"simulated-{study}"
        truths[study] = write_study(simulated, seed, StudyPlan(views=(View.A4C, View.PLAX), size=96))
        for number, clip in enumerate(truths[study].clips, start=1):
            path = folder / f"{study}_{number:04d}.dcm"
            shutil.move(simulated / clip.file, path)
            records.append(
                {
                    "subject_id": subject,
                    "study_id": study,
                    "acquisition_datetime": "2150-01-01 10:00:00",
                    "dicom_filepath": path.relative_to(root).as_posix(),
                }
            )
        shutil.rmtree(simulated)
        measurement = "" if study == WITHOUT_MEASUREMENT else f"5{study}"
        studies.append(
            {
                "subject_id": subject,
                "study_id": study,
                "study_datetime": "2150-01-01 10:00:00",
                "measurement_id": measurement,
                "measurement_datetime": "",
            }
        )
        if measurement:
            measurements += [
                f"{subject},{measurement},lvedd,4.9,cm",
                f"{subject},{measurement},lvef,{truths[study].ejection_fraction_percent:.6f},%",
            ]
    write_table(root / "echo-record-list.csv", list(records[0]), records)
    write_table(root / "echo-study-list.csv", list(studies[0]), studies)
    with gzip.open(root / "structured-measurement.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(measurements) + "\n")
    write_digests(root)
    return truths


def write_digests(root: Path) -> None:
    """``SHA256SUMS.txt`` of everything that is there."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "SHA256SUMS.txt")
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root).as_posix()}" for path in files)
    (root / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")
