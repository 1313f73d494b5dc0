"""The truth of a data set, and written results: one form for all data sets and all software, matched for scoring.

A results folder, as ``echoapex analyze`` writes it, contains ``results.json`` (:class:`echoapex.domain.StudyReport`)
and ``masks/<clip_id>.npz`` with the arrays ``frames`` (n,) integer and ``labels`` (n, height, width) uint8 in native
pixels. Labels are those of :class:`echoapex.vocabulary.Structure`. A predictions folder contains one results folder per
study. Results of any software in this format can be scored. Clips are identified by ``input_sha256``, the digest of the
analysed file.
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

RESULTS_FILE = "results.json"
MASK_FOLDER = "masks"


class ReferenceSetError(ValueError):
    """The data set cannot be used for scoring; the message says what is missing and where."""


class PredictionError(ValueError):
    """Results cannot be scored; the message names the file and says what to do."""


@dataclass(frozen=True)
class ReferenceClip:
    """The truth of one clip.

    Attributes:
        name: name of the clip, also in ``cases.csv``.
        path: the file to analyse.
        sha256: digest of that file; results are matched by it, never by name.
        view: the true view; None if the data set does not give it, and then it is not scored.
        frame_times_s: seconds from the first frame.
        structures: the structures that this data set outlines in this view; others are not scored.
        read_labels: reads the label maps by frame, in native pixels.
        outlined_frames: frames that the analysis must outline; if empty, the analysis chooses.
        spacing: pixel size given to the analysis, if the data set knows it and the file does not contain it.
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
    """The truth of one study; intervals resample patients.

    Attributes:
        patient: a name that identifies the patient within the data set.
        clips: the clips of the study.
        values: true study-level quantities, in the unit of the quantity.
        traits: known properties of patient and images that define subgroups: ``sex``, ``age``, ``image quality``,
            ``vendor``, ``frame rate``.
        study: distinguishes the studies of one patient; empty if each patient has one study.
    """

    patient: str
    clips: tuple[ReferenceClip, ...]
    values: Mapping[Quantity, float] = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    study: str = ""

    @property
    def key(self) -> str:
        """A unique name of the study within the data set."""
        return self.study or self.patient

    @property
    def folder(self) -> str:
        """The key as a folder name."""
        quoted = quote(self.key, safe=" ")
        return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


@dataclass(frozen=True, eq=False)
class WrittenMasks:
    """The masks that an analysis wrote for one clip: label maps by frame, and the spacing that it used."""

    view: View | None
    labels: LabelMaps
    spacing: Spacing | None


@dataclass(frozen=True)
class ReferenceSet:
    """A data set to score against.

    Attributes:
        dataset: name of the data set.
        split: name of the split, or empty.
        studies: the studies, at least one.
        ejection_fraction_source: the source of the true ``LVEF``, in words.
        ejection_fraction_method: the quantity of the report that is compared with the true ``LVEF``. For a data set of
            ED and ES still images it is ``LVEF_DISCS``, because there is no cardiac cycle to regress from.
        derive_values: computes study-level values from the written masks, for clips that are too short for the analysis
            to find a beat; they take precedence over the values of the report.
        discs_source: the source of the true ``LVEF_DISCS``, in words; the report's discs are compared with it.
        notes: what is not scored in the data set, and why.
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
    """The known traits; numbers are grouped into ranges that are usual in clinics."""
    found = {"sex": sex, "image quality": image_quality, "vendor": vendor}
    if age_years is not None:
        found["age"] = "below 45" if age_years < 45 else "45 to 64" if age_years < 65 else "65 and more"
    if frame_rate_hz is not None:
        found["frame rate"] = "below 50 Hz" if frame_rate_hz < 50 else "50 Hz and more"
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Results:
    """One results folder.

    Attributes:
        folder: its path.
        report: content of ``results.json``.
        clips: the clips by the digest of their file.
    """

    folder: Path
    report: StudyReport
    clips: dict[str, ClipReport] = field(default_factory=dict)

    def read_masks(self, clip: ClipReport) -> LabelMaps:
        """Read the written label maps by frame; empty if none were written for the clip.

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
    """A reference study and all results with clips of it: usually one folder, none if it was not analysed."""

    reference: ReferenceStudy
    results: tuple[Results, ...]

    def find_clip(self, sha256: str) -> tuple[Results, ClipReport] | None:
        """The results of one clip, or None."""
        return next(((each, each.clips[sha256]) for each in self.results if sha256 in each.clips), None)

    def find_value(self, quantity: Quantity) -> float | None:
        """The study-level value of a quantity, or None.

        Raises:
            PredictionError: the study was analysed in several parts, and more than one gives a value.
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
        PredictionError: there is none, or one is damaged.
    """
    folders = sorted(path.parent for path in root.rglob(RESULTS_FILE) if path.is_file())
    if not folders:
        raise PredictionError(f"{root}: holds no {RESULTS_FILE}; run 'echoapex analyze STUDY --out FOLDER' first")
    return [_read_results(folder) for folder in folders]


def match_studies(references: Iterable[ReferenceStudy], predictions: Iterable[Results]) -> list[MatchedStudy]:
    """Find the results of every reference study by the digests of its clips; a study without results is kept.

    Raises:
        PredictionError: a clip was analysed twice; or a results folder mixes studies, so that its values belong to no
            study; or no result belongs to the reference.
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
