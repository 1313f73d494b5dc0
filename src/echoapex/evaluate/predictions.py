"""Written results, as ``echoapex analyze`` leaves them, read back for scoring: ours or anybody's.

A results folder holds ``results.json`` (:class:`echoapex.domain.StudyReport`) and ``masks/<clip_id>.npz`` with the
arrays ``frames`` (n,) integer and ``labels`` (n, height, width) uint8 in native pixels, the labels being those of
:class:`echoapex.vocabulary.Structure`. A predictions folder holds one results folder per study. Whoever writes this
format can be scored; clips are recognised by ``input_sha256``, the digest of the file that was analysed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from echoapex.domain import ClipReport, StudyReport
from echoapex.evaluate.reference import LabelMaps, ReferenceStudy
from echoapex.vocabulary import Quantity

RESULTS_FILE = "results.json"
MASK_FOLDER = "masks"


class PredictionError(ValueError):
    """Results that cannot be scored; the message names the file and the remedy."""


@dataclass(frozen=True)
class Results:
    """One results folder.

    Attributes:
        folder: where it is.
        report: content of ``results.json``.
        clips: the clips by digest of their file.
    """

    folder: Path
    report: StudyReport
    clips: dict[str, ClipReport] = field(default_factory=dict)

    def read_masks(self, clip: ClipReport) -> LabelMaps:
        """Predicted label maps by frame; empty when none were written for the clip.

        Raises:
            PredictionError: the file is damaged.
        """
        path = self.folder / MASK_FOLDER / f"{clip.clip_id}.npz"
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                frames, labels = arrays["frames"], arrays["labels"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise PredictionError(f"{path}: masks cannot be read ({error}); analyse the study again") from error
        if labels.dtype != np.uint8 or labels.ndim != 3 or frames.shape != labels.shape[:1]:
            raise PredictionError(f"{path}: masks must be uint8 (frames, height, width) with one frame index each")
        return {int(frame): label for frame, label in zip(frames, labels, strict=True)}


@dataclass(frozen=True)
class MatchedStudy:
    """A reference study and all results that hold clips of it: usually one folder, none when it was not analysed."""

    reference: ReferenceStudy
    results: tuple[Results, ...]

    def find_clip(self, sha256: str) -> tuple[Results, ClipReport] | None:
        """What was written of one clip."""
        return next(((each, each.clips[sha256]) for each in self.results if sha256 in each.clips), None)

    def find_value(self, quantity: Quantity) -> float | None:
        """The study-level value of a quantity, or None.

        Raises:
            PredictionError: the study was analysed in parts that each give a value, so that none is the study's.
        """
        found = [each.report.find(quantity) for each in self.results]
        values = [measurement.value for measurement in found if measurement is not None]
        if len(values) > 1:
            folders = ", ".join(str(each.folder) for each in self.results)
            raise PredictionError(
                f"{self.reference.key}: {folders} each give {quantity}; analyse the clips of a study together"
            )
        return values[0] if values else None


def read_predictions(root: Path) -> list[Results]:
    """Read every results folder in or below ``root``.

    Raises:
        PredictionError: there are none, or one is damaged.
    """
    folders = sorted(path.parent for path in root.rglob(RESULTS_FILE) if path.is_file())
    if not folders:
        raise PredictionError(f"{root}: holds no {RESULTS_FILE}; run 'echoapex analyze STUDY --out FOLDER' first")
    return [_read_results(folder) for folder in folders]


def _read_results(folder: Path) -> Results:
    path = folder / RESULTS_FILE
    try:
        report = StudyReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PredictionError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PredictionError(f"{path}: {place} is not a valid result ({first['msg']}); analyse again") from error
    return Results(folder, report, {clip.input_sha256: clip for clip in report.clips if clip.input_sha256})


def match_studies(references: Iterable[ReferenceStudy], predictions: Iterable[Results]) -> list[MatchedStudy]:
    """Find the results of every reference study by the digests of its clips; a study without results is kept.

    Raises:
        PredictionError: a clip was analysed twice, one results folder mixes studies so that a study-level value cannot
            be attributed, or nothing belongs to the reference at all.
    """
    holder: dict[str, Results] = {}
    for results in predictions:
        for digest in results.clips:
            if digest in holder:
                raise PredictionError(
                    f"{results.folder}: holds a clip that {holder[digest].folder} holds too; keep one of them"
                )
            holder[digest] = results
    matched: list[MatchedStudy] = []
    owner: dict[Path, str] = {}
    for study in references:
        found = {holder[clip.sha256].folder: holder[clip.sha256] for clip in study.clips if clip.sha256 in holder}
        for folder in found:
            if owner.setdefault(folder, study.key) != study.key:
                raise PredictionError(f"{folder}: mixes {owner[folder]} and {study.key}; analyse each study alone")
        matched.append(MatchedStudy(study, tuple(found.values())))
    if not owner:
        raise PredictionError(
            "no result belongs to the data set: no clip has the digest of a reference file; "
            "check --root and --predictions"
        )
    return matched
