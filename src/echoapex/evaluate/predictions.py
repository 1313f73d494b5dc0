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

RESULTS_FILE = "results.json"
MASK_FOLDER = "masks"


class PredictionError(ValueError):
    """Results that cannot be scored; the message names the file and the remedy."""


@dataclass(frozen=True)
class StudyPrediction:
    """The results of one study.

    Attributes:
        folder: the results folder.
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


def read_predictions(root: Path) -> list[StudyPrediction]:
    """Read the results in ``root`` or in its direct sub-folders.

    Raises:
        PredictionError: there are none, or one is damaged.
    """
    if (root / RESULTS_FILE).is_file():
        folders = [root]
    else:
        folders = sorted(path.parent for path in root.glob(f"[!.]*/{RESULTS_FILE}"))
    if not folders:
        raise PredictionError(f"{root}: holds no {RESULTS_FILE}; run 'echoapex analyze STUDY --out FOLDER' first")
    return [_read_prediction(folder) for folder in folders]


def _read_prediction(folder: Path) -> StudyPrediction:
    path = folder / RESULTS_FILE
    try:
        report = StudyReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PredictionError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PredictionError(f"{path}: {place} is not a valid result ({first['msg']}); analyse again") from error
    return StudyPrediction(folder, report, {clip.input_sha256: clip for clip in report.clips if clip.input_sha256})


def match_studies(
    references: Iterable[ReferenceStudy], predictions: Iterable[StudyPrediction]
) -> list[tuple[ReferenceStudy, StudyPrediction | None]]:
    """Find the results of every reference study by the digests of its clips; None where nothing was written.

    Raises:
        PredictionError: one results folder covers several studies, or several cover one, so that a study-level value
            cannot be attributed.
    """
    folder_of: dict[str, StudyPrediction] = {}
    for prediction in predictions:
        for digest in prediction.clips:
            if digest in folder_of:
                raise PredictionError(
                    f"{prediction.folder}: holds a clip that {folder_of[digest].folder} holds too; keep one of them"
                )
            folder_of[digest] = prediction
    matched: list[tuple[ReferenceStudy, StudyPrediction | None]] = []
    owner: dict[Path, str] = {}
    for study in references:
        found = {
            folder_of[clip.sha256].folder: folder_of[clip.sha256] for clip in study.clips if clip.sha256 in folder_of
        }
        if len(found) > 1:
            raise PredictionError(
                f"{study.patient}: its clips lie in {len(found)} results folders; analyse them together"
            )
        for folder in found:
            if owner.setdefault(folder, study.patient) != study.patient:
                raise PredictionError(f"{folder}: mixes {owner[folder]} and {study.patient}; analyse each study alone")
        matched.append((study, next(iter(found.values()), None)))
    if not owner:
        raise PredictionError(
            "no result belongs to the data set: no clip has the digest of a reference file; "
            "check --root and --predictions"
        )
    return matched
