"""One study as it is reported: its values beside normal limits and codes, its clips, and what was not measured.

``infer.outputs.reported_studies`` builds it from a ``StudyReport``. The report, the FHIR bundle and the cohort table
are written from it, so all three say the same. It names no patient: a study goes by a digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from echoapex.domain.results import ClipReport, LvhAssessment, Measurement
from echoapex.vocabulary import Quantity, View
from echoapex.vocabulary.codes import Code


@dataclass(frozen=True)
class StudyGroup:
    """Which clips form one study.

    Attributes:
        study: the pseudonym of the study; empty where no file names one.
        clip_ids: its clips.
        sex: DICOM patient sex on which the files agree, by which normal limits are chosen.
    """

    study: str
    clip_ids: tuple[str, ...]
    sex: str | None = None


@dataclass(frozen=True)
class NormalLimits:
    """Normal limits of one quantity in its unit, inclusive; an end that is None has no limit.

    ``applies_to`` is ``women``, ``men`` or ``adults``.
    """

    low: float | None
    high: float | None
    applies_to: str


@dataclass(frozen=True)
class GradedValue:
    """One value of a study with all that a reader compares it with.

    Attributes:
        measurement: the value with its method and evidence.
        limits: normal limits: one entry where the sex is known or does not matter, else one for each sex.
        category: the grade in words; empty where there is none.
        source: the guideline of the limits; empty where there are none.
        is_rough_guide: whether the limits are a rough guide only, because the guideline has none of this method.
        loinc: the LOINC code with exactly this meaning; None where none was checked.
        view: the view of a value that comes from one view only.
        is_biplane: whether it was taken from two planes together.
    """

    measurement: Measurement
    limits: tuple[NormalLimits, ...] = ()
    category: str = ""
    source: str = ""
    is_rough_guide: bool = False
    loinc: Code | None = None
    view: View | None = None
    is_biplane: bool = False

    @property
    def quantity(self) -> Quantity:
        """What was measured."""
        return self.measurement.quantity


@dataclass(frozen=True)
class MissingValue:
    """A quantity that the study has no value of, and why."""

    quantity: Quantity
    reason: str


@dataclass(frozen=True)
class UsedWeights:
    """One bundle of weights that took part: its name, the sha256 of its weights, its licence and its training data.

    ``licence`` and ``training_data`` are empty where the card is not known.
    """

    name: str
    sha256: str
    licence: str = ""
    training_data: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportedStudy:
    """One study, ready to be written.

    Attributes:
        digest: name of the study: its pseudonym, or a digest of its files.
        values: the values of the study, in the order of ``Quantity``.
        missing: what has no value, and why.
        clips: the clips of the study.
        lvh: LV geometry.
        notes: remarks about the whole.
        sex: DICOM patient sex by which limits were chosen; None if unknown.
        weights: the weights that took part.
        bundle: name of the set of weights.
        version: of EchoApex.
        disclaimer: what the software is not.
        weights_note: what a reader should know of the weights.
        keeps_identifiers: whether identifiers were kept on request, so that pictures may show them.
    """

    digest: str
    values: tuple[GradedValue, ...]
    missing: tuple[MissingValue, ...]
    clips: tuple[ClipReport, ...]
    lvh: LvhAssessment
    notes: tuple[str, ...]
    sex: str | None
    weights: tuple[UsedWeights, ...]
    bundle: str
    version: str
    disclaimer: str
    weights_note: str = ""
    keeps_identifiers: bool = False

    def find(self, quantity: Quantity) -> GradedValue | None:
        """The value of a quantity, or None."""
        return next((value for value in self.values if value.quantity is quantity), None)

    @property
    def analysed(self) -> tuple[ClipReport, ...]:
        """The clips that were not set aside."""
        return tuple(clip for clip in self.clips if not clip.set_aside)

    @property
    def guidelines(self) -> tuple[str, ...]:
        """The sources of all limits and of the LV geometry."""
        sources = [*(value.source for value in self.values), *self.lvh.sources]
        return tuple(dict.fromkeys(source for source in sources if source))

    def clip_labels(self) -> Iterator[tuple[str, ClipReport]]:
        """The clips with a short label each: C1, C2, ..."""
        for number, clip in enumerate(self.clips, start=1):
            yield f"C{number}", clip
