"""What is kept of every finished clip, so that an interrupted analysis goes on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from echoapex.config import Config
from echoapex.domain import ClipHeader, ClipReport
from echoapex.infer.known_clip import KnownClip
from echoapex.infer.options import AnalysisOptions
from echoapex.io.atomic_file import write_bytes_atomically
from echoapex.version import __version__

RECORD_FOLDER = "clips"


class Patient(Config):
    """What measuring needs to know of the patient; nothing that names anyone."""

    sex: str | None = None
    height_m: float | None = None
    weight_kg: float | None = None


class ClipRecord(Config):
    """The report of one finished clip, which study it belongs to, and which run made it.

    ``run_key`` is a digest of version, weights and options: a clip is reused only by a run that would find the same.
    ``study`` is a pseudonym, empty where the file does not say. ``signature`` is a perceptual hash of the frames, by
    which a copy of the loop is known.
    """

    run_key: str
    study: str
    patient: Patient
    report: ClipReport
    signature: tuple[str, ...] = ()


def compute_run_key(digests: Mapping[str, str], options: AnalysisOptions) -> str:
    """Digest of everything but the input that a clip's results depend on."""
    weights = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
    text = f"{__version__}\n{weights}\n{options.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def extend_run_key(run_key: str, known: KnownClip) -> str:
    """The key of a clip of which something was told; that of the run where nothing was."""
    if known == KnownClip():
        return run_key
    return hashlib.sha256(f"{run_key}\n{known}".encode()).hexdigest()[:16]


def build_record(run_key: str, header: ClipHeader, report: ClipReport, signature: tuple[str, ...] = ()) -> ClipRecord:
    """The record of a clip."""
    patient = Patient(sex=header.patient_sex, height_m=header.patient_height_m, weight_kg=header.patient_weight_kg)
    study = header.source.get("study", "")
    return ClipRecord(run_key=run_key, study=study, patient=patient, report=report, signature=signature)


def write_record(out: Path, record: ClipRecord) -> Path:
    """Write a record; it is written after all other files of its clip, so that a clip with a record is finished."""
    path = out / RECORD_FOLDER / f"{record.report.clip_id}.json"
    return write_bytes_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())


def read_record(out: Path, header: ClipHeader, run_key: str) -> ClipRecord | None:
    """The record that an earlier run with the same key left of this clip; None where there is none to be trusted."""
    path = out / RECORD_FOLDER / f"{header.clip_id}.json"
    try:
        record = ClipRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    is_same = record.run_key == run_key and record.report.input_sha256 == header.source.get("sha256", "")
    return record if is_same else None
