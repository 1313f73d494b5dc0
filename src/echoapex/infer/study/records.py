"""Records of finished clips: an interrupted analysis continues with them, and a loop that occurs twice counts once.

Records of one study form a group; what its files say of the patient counts where they agree.

Scanners store a loop again when it is sent twice, and people export it at another size. Such copies are found by a
perceptual hash of the prepared frames (grey, the sector alone), so burned-in text and the screen size do not matter.

A person or a data set may give the view or the calibration of a clip. A given view replaces the recognised one; a given
calibration is used only if the file itself has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import ValidationError

from echoapex.config import Config
from echoapex.domain import ClipHeader, ClipReport, Spacing
from echoapex.domain.reported_study import StudyGroup
from echoapex.infer.clip.reading import AnalysisOptions, are_copies
from echoapex.io.clip_source import ClipSource
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.version import __version__
from echoapex.vocabulary import View

TOLD_CALIBRATION = "told beside the file"
RECORD_FOLDER = "clips"


@dataclass(frozen=True)
class KnownClip:
    """What a person or a data set has told about one clip.

    Attributes:
        view: the view, which is then not looked for.
        spacing: pixel size; a calibration in the file itself goes first.
        outlined_frames: native frames that are outlined in addition to those that the analysis chooses.
    """

    view: View | None = None
    spacing: Spacing | None = None
    outlined_frames: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class CalibratedSource:
    """A clip without calibration of its own, with a given pixel size."""

    source: ClipSource
    spacing: Spacing

    @property
    def header(self) -> ClipHeader:
        """The header with the given spacing and its origin."""
        header = self.source.header
        source = {**header.source, "calibration": TOLD_CALIBRATION}
        return replace(header, spacing=self.spacing, spacing_reason="", source=source)

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode one frame at a time, from the first.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        yield from self.source.frames()


def tell_calibration(source: ClipSource, known: KnownClip) -> ClipSource:
    """The clip with the given spacing, if its file has none."""
    if known.spacing is None or source.header.spacing is not None:
        return source
    return CalibratedSource(source, known.spacing)


class PatientData(Config):
    """Patient data for measurements; nothing that identifies a person."""

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
    patient: PatientData
    report: ClipReport
    signature: tuple[str, ...] = ()


def compute_run_key(digests: Mapping[str, str], options: AnalysisOptions) -> str:
    """Digest of everything except the input on which the results of a clip depend."""
    weights = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
    text = f"{__version__}\n{weights}\n{options.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def extend_run_key(run_key: str, known: KnownClip) -> str:
    """The run key of a clip with given values; the plain run key if nothing was given."""
    if known == KnownClip():
        return run_key
    return hashlib.sha256(f"{run_key}\n{known}".encode()).hexdigest()[:16]


def build_record(run_key: str, header: ClipHeader, report: ClipReport, signature: tuple[str, ...] = ()) -> ClipRecord:
    """The record of a clip."""
    patient = PatientData(sex=header.patient_sex, height_m=header.patient_height_m, weight_kg=header.patient_weight_kg)
    study = header.source.get("study", "")
    return ClipRecord(run_key=run_key, study=study, patient=patient, report=report, signature=signature)


def write_record(out: Path, record: ClipRecord) -> Path:
    """Write a record, after all other files of its clip: a clip with a record is finished."""
    path = out / RECORD_FOLDER / f"{record.report.clip_id}.json"
    return write_bytes_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())


def read_record(out: Path, header: ClipHeader, run_key: str) -> ClipRecord | None:
    """The record of this clip from an earlier run with the same key; None if there is no valid one."""
    path = out / RECORD_FOLDER / f"{header.clip_id}.json"
    try:
        record = ClipRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    is_same = record.run_key == run_key and record.report.input_sha256 == header.source.get("sha256", "")
    return record if is_same else None


def files_of_clip(out: Path, clip_id: str) -> list[str]:
    """The files of one clip that are there, relative to the output folder."""
    names = (
        f"{RECORD_FOLDER}/{clip_id}.json",
        f"{RECORD_FOLDER}/{clip_id}.png",
        f"masks/{clip_id}.npz",
        f"overlays/{clip_id}.mp4",
    )
    return [name for name in names if (out / name).is_file()]


def leave_out_copies(records: Sequence[ClipRecord]) -> list[ClipRecord]:
    """The records with every copy set aside and named after its original; the order stays.

    Only clips of one study are compared. The original is the calibrated one, else the larger, the longer, the first.
    """
    copies: dict[int, int] = {}
    ranked = sorted(range(len(records)), key=lambda index: _rank(records[index]))
    places: dict[str, list[int]] = {}  # of an archive, only the clips of one study are gone through
    for place, index in enumerate(ranked):
        places.setdefault(records[index].study, []).append(place)
    for place, original in enumerate(ranked):
        if original in copies or records[original].report.set_aside:
            continue
        study = records[original].study
        near = sorted((*places[study], *places.get("", ()))) if study else range(place + 1, len(ranked))
        for other in (ranked[each] for each in near if each > place):
            if other not in copies and _is_copy(records[original], records[other]):
                copies[other] = original
    return [
        record if index not in copies else _as_copy(record, records[copies[index]])
        for index, record in enumerate(records)
    ]


def _rank(record: ClipRecord) -> tuple[bool, int, int]:
    report = record.report
    return report.row_mm is None, -report.size[0] * report.size[1], -report.frames


def _is_copy(original: ClipRecord, other: ClipRecord) -> bool:
    """Whether two records show the same pictures and belong to one study, or one names no study."""
    if other.report.set_aside or (original.study and other.study and original.study != other.study):
        return False
    return are_copies(original.signature, other.signature)


def _as_copy(record: ClipRecord, original: ClipRecord) -> ClipRecord:
    said = f"copy of clip {original.report.clip_id}"
    report = record.report.model_copy(update={"set_aside": said, "measurements": ()})
    return record.model_copy(update={"report": report})


def group_by_study(records: Sequence[ClipRecord]) -> dict[str, list[ClipRecord]]:
    """Records by study; clips without a study join the only one there is."""
    known = list(dict.fromkeys(record.study for record in records if record.study))
    groups: dict[str, list[ClipRecord]] = {}
    for record in records:
        study = record.study or (known[0] if len(known) == 1 else "")
        groups.setdefault(study, []).append(record)
    return groups


def describe_groups(records: Sequence[ClipRecord]) -> tuple[StudyGroup, ...]:
    """Which clips form one study, and the sex by which its values are graded."""
    return tuple(
        StudyGroup(study, tuple(record.report.clip_id for record in group), agreed_patient(group).sex)
        for study, group in group_by_study(records).items()
    )


def agreed_patient(records: Sequence[ClipRecord]) -> PatientData:
    """Sex, height and weight on which the files agree; contradictory values are unknown."""

    def agreed(values: set[str | float]) -> str | float | None:
        return values.pop() if len(values) == 1 else None

    people = [record.patient for record in records]
    return PatientData.model_validate(
        {
            field: agreed({value for person in people if (value := getattr(person, field)) is not None})
            for field in PatientData.model_fields
        }
    )
