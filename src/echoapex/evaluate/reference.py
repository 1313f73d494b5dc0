"""What is true of a data set, in one form for every data set, so that the harness knows none in particular.

Written results, as ``echoapex analyze`` leaves them, read back for scoring: ours or anybody's.

A results folder holds ``results.json`` (:class:`echoapex.domain.StudyReport`) and ``masks/<clip_id>.npz`` with the
arrays ``frames`` (n,) integer and ``labels`` (n, height, width) uint8 in native pixels, the labels being those of
:class:`echoapex.vocabulary.Structure`. A predictions folder holds one results folder per study. Whoever writes this
format can be scored; clips are recognised by ``input_sha256``, the digest of the file that was analysed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from pydantic import ValidationError

from echoapex.domain import ClipReport, Spacing, StudyReport
from echoapex.vocabulary import Quantity, Structure, View

LabelMaps = dict[int, UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True)
class ReferenceClip:
    """The truth of one clip.

    Attributes:
        name: the clip in words, for people and for ``cases.csv``.
        path: the file to analyse.
        sha256: digest of that file; written results are matched by it, never by name.
        view: the true view; None where the data set does not tell it, and then it is not scored.
        frame_times_s: seconds from the first frame.
        structures: the structures that this data set outlines in this view; others are not scored.
        read_labels: reads the label maps by frame, in native pixels.
        outlined_frames: frames that an analysis is asked to outline in any case; empty leaves the choice to it.
        spacing: pixel size that an analysis is told, where the data set knows it and the file does not hold it.
    """

    name: str
    path: Path
    sha256: str
    view: View | None
    frame_times_s: tuple[float, ...]
    structures: tuple[Structure, ...]
    read_labels: Callable[[], LabelMaps]
    outlined_frames: tuple[int, ...] = ()
    spacing: Spacing | None = None


@dataclass(frozen=True)
class ReferenceStudy:
    """The truth of one study; the patient is the unit that intervals resample.

    Attributes:
        patient: a name that tells patients apart.
        clips: the clips of the study.
        values: true study-level quantities, in the unit of the quantity.
        traits: what is known of the patient and the images, by which scores are told apart: ``sex``, ``age``,
            ``image quality``, ``vendor``, ``frame rate``.
        study: tells the studies of one patient apart; empty where each patient has one.
    """

    patient: str
    clips: tuple[ReferenceClip, ...]
    values: Mapping[Quantity, float] = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    study: str = ""

    @property
    def key(self) -> str:
        """A name that no other study of the data set has."""
        return self.study or self.patient

    @property
    def folder(self) -> str:
        """The key as the name of a folder."""
        quoted = quote(self.key, safe=" ")
        return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


@dataclass(frozen=True, eq=False)
class WrittenMasks:
    """What an analysis outlined in one clip: label maps by frame, and the spacing that it used."""

    view: View | None
    labels: LabelMaps
    spacing: Spacing | None


@dataclass(frozen=True)
class ReferenceSet:
    """A data set to score against.

    Attributes:
        dataset: its name.
        split: the part of it, or "".
        studies: the studies, at least one.
        ejection_fraction_source: where the true ``LVEF`` comes from, in words.
        ejection_fraction_method: the quantity of the report that is held against the true ``LVEF``; a data set of ED
            and ES stills has no cycle to regress from, so there it is ``LVEF_DISCS``.
        derive_values: study-level values that follow from written masks alone, for a data set whose clips are too short
            for the analysis to find a beat; they stand before what the report says.
        discs_source: where the true ``LVEF_DISCS`` comes from, in words; the discs of the report are held against it.
        notes: what of the data set is not scored, and why, in words.
    """

    dataset: str
    split: str
    studies: tuple[ReferenceStudy, ...]
    ejection_fraction_source: str
    discs_source: str
    ejection_fraction_method: Quantity = Quantity.LVEF
    derive_values: Callable[[Sequence[WrittenMasks]], Mapping[Quantity, float]] | None = None
    notes: tuple[str, ...] = ()


def traits_of(
    sex: str | None = None,
    age_years: int | None = None,
    image_quality: str | None = None,
    vendor: str | None = None,
    frame_rate_hz: float | None = None,
) -> dict[str, str]:
    """The traits that are known, numbers in ranges that a clinic would use."""
    found = {"sex": sex, "image quality": image_quality, "vendor": vendor}
    if age_years is not None:
        found["age"] = "below 45" if age_years < 45 else "45 to 64" if age_years < 65 else "65 and more"
    if frame_rate_hz is not None:
        found["frame rate"] = "below 50 Hz" if frame_rate_hz < 50 else "50 Hz and more"
    return {name: value for name, value in found.items() if value}


class ReferenceSetError(ValueError):
    """A data set that cannot be scored against; the message says what is missing and where."""


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
