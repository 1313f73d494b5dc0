"""What is true of a data set, in one form for every data set, so that the harness knows none in particular."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Spacing
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
