"""The numbers of a cohort: how many studies and clips, their quality, the values of each quantity, what was refused.

``summary.csv``
    one row for each quantity: in how many studies it was looked for and measured, median and quartiles, the share
    outside the normal limits, the share that is flagged, and the most frequent reason for no value.
``refused.csv``
    one row for each reason why a file failed, a clip was set aside, or a value is missing, the most frequent first.
``summary.json``
    both, with the counts of studies, clips and views.

Nothing here names a patient, a study or a file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from echoapex.domain import ClipReport
from echoapex.domain.reported_study import GradedValue, ReportedStudy
from echoapex.infer.outputs.files import number_cell, table_bytes
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Quantity, View

SUMMARY_CSV, REFUSED_CSV, SUMMARY_JSON = "summary.csv", "refused.csv", "summary.json"
REFUSED_COLUMNS = ("what", "reason", "count")
_NAMED = re.compile(r"\b(clip|file)[ -][\w-]*\d[\w-]*")


@dataclass(frozen=True)
class QuantitySummary:
    """The values of one quantity over all studies, in its unit.

    Attributes:
        quantity: its key.
        name: its name in words.
        unit: UCUM unit.
        studies: in which it was looked for.
        measured: of these, in which it has a value.
        median: median of the values; None without a value.
        quartile_low: first quartile.
        quartile_high: third quartile.
        lowest: smallest value.
        highest: largest value.
        with_limits: values that have normal limits: those of the sex, or the same for both.
        below_percent: of these, the share below the normal limits in percent; None where there are none.
        above_percent: of these, the share above.
        flagged_percent: share of the values with a flag, in percent.
        most_frequent_reason: why it mostly has no value; empty where it always has one.
    """

    quantity: str
    name: str
    unit: str
    studies: int
    measured: int
    median: float | None
    quartile_low: float | None
    quartile_high: float | None
    lowest: float | None
    highest: float | None
    with_limits: int
    below_percent: float | None
    above_percent: float | None
    flagged_percent: float | None
    most_frequent_reason: str


@dataclass(frozen=True)
class CohortSummary:
    """The numbers of a cohort.

    Attributes:
        studies: how many.
        studies_left_out: studies that were in several folders, and counted once.
        clips_analysed: clips with a view.
        clips_set_aside: clips that were read and not analysed.
        files_failed: files that could not be read or analysed.
        clips_calibrated: analysed clips with a pixel size in mm.
        clips_by_view: analysed clips of each view, the most frequent first.
        quality_by_view: median quality of the analysed clips of each view, 0 to 1.
        quantities: one entry for each quantity.
        refused: what was refused, why, and how often.
    """

    studies: int
    studies_left_out: int
    clips_analysed: int
    clips_set_aside: int
    files_failed: int
    clips_calibrated: int
    clips_by_view: dict[str, int]
    quality_by_view: dict[str, float]
    quantities: tuple[QuantitySummary, ...]
    refused: tuple[tuple[str, str, int], ...]


def merge_studies(groups: Iterable[Sequence[ReportedStudy]]) -> tuple[tuple[ReportedStudy, ...], int]:
    """The studies of several folders, each once; and how many were left out since an earlier folder holds them."""
    found: dict[str, ReportedStudy] = {}
    met = 0
    for group in groups:
        for study in group:
            met += 1
            found.setdefault(study.digest, study)
    return tuple(found.values()), met - len(found)


def summarize_cohort(
    studies: Sequence[ReportedStudy], errors: Sequence[Mapping[str, str]], left_out: int = 0
) -> CohortSummary:
    """Count and describe.

    Args:
        studies: of the cohort, each once.
        errors: the files that failed, as in ``results.json``.
        left_out: how many studies were left out as copies.
    """
    clips = [clip for study in studies for clip in study.clips]
    analysed = [clip for clip in clips if not clip.set_aside]
    views = Counter(clip.view for clip in analysed if clip.view is not None)
    return CohortSummary(
        studies=len(studies),
        studies_left_out=left_out,
        clips_analysed=len(analysed),
        clips_set_aside=len(clips) - len(analysed),
        files_failed=len(errors),
        clips_calibrated=sum(clip.row_mm is not None for clip in analysed),
        clips_by_view={view.value: count for view, count in views.most_common()},
        quality_by_view={view.value: _median_quality(analysed, view) for view, _ in views.most_common()},
        quantities=tuple(_summarize_quantity(quantity, studies) for quantity in Quantity),
        refused=tuple(_count_refused(studies, clips, errors)),
    )


def values_of(studies: Sequence[ReportedStudy], quantity: Quantity) -> list[GradedValue]:
    """The values of a quantity, one of each study that has it."""
    return [value for study in studies if (value := study.find(quantity)) is not None]


def _median_quality(clips: Sequence[ClipReport], view: View) -> float:
    return float(np.median([clip.quality for clip in clips if clip.view is view and clip.quality is not None] or [0.0]))


def _summarize_quantity(quantity: Quantity, studies: Sequence[ReportedStudy]) -> QuantitySummary:
    found = values_of(studies, quantity)
    numbers = np.array([value.measurement.value for value in found])
    low, middle, high = np.percentile(numbers, (25, 50, 75)).tolist() if found else (None, None, None)
    graded = [(value.measurement.value, value.limits[0]) for value in found if len(value.limits) == 1]
    below = sum(limits.low is not None and number < limits.low for number, limits in graded)
    above = sum(limits.high is not None and number > limits.high for number, limits in graded)
    reasons = Counter(item.reason for study in studies for item in study.missing if item.quantity is quantity)
    return QuantitySummary(
        quantity=quantity.value,
        name=quantity.display_name,
        unit=quantity.unit,
        studies=len(studies),
        measured=len(found),
        median=middle,
        quartile_low=low,
        quartile_high=high,
        lowest=float(numbers.min()) if found else None,
        highest=float(numbers.max()) if found else None,
        with_limits=len(graded),
        below_percent=_percent(below, len(graded)),
        above_percent=_percent(above, len(graded)),
        flagged_percent=_percent(sum(bool(value.measurement.flags) for value in found), len(found)),
        most_frequent_reason=reasons.most_common(1)[0][0] if reasons else "",
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _count_refused(
    studies: Sequence[ReportedStudy], clips: Sequence[ClipReport], errors: Sequence[Mapping[str, str]]
) -> list[tuple[str, str, int]]:
    reasons: Counter[tuple[str, str]] = Counter()
    reasons.update(("file failed", error["reason"]) for error in errors)
    reasons.update(("clip set aside", _NAMED.sub(r"\1", clip.set_aside)) for clip in clips if clip.set_aside)
    reasons.update((f"no {item.quantity.value}", item.reason) for study in studies for item in study.missing)
    return [(what, " ".join(reason.split()), count) for (what, reason), count in reasons.most_common()]


def write_summary(out: Path, summary: CohortSummary) -> tuple[Path, ...]:
    """Write the three files into a folder, which is made where it is missing."""
    out.mkdir(parents=True, exist_ok=True)
    columns = tuple(QuantitySummary.__dataclass_fields__)
    rows = ({name: _cell(value) for name, value in asdict(item).items()} for item in summary.quantities)
    refused = (dict(zip(REFUSED_COLUMNS, row, strict=True)) for row in summary.refused)
    return (
        write_bytes_atomically(out / SUMMARY_CSV, table_bytes(columns, rows)),
        write_bytes_atomically(out / REFUSED_CSV, table_bytes(REFUSED_COLUMNS, refused)),
        write_bytes_atomically(out / SUMMARY_JSON, (json.dumps(asdict(summary), indent=1) + "\n").encode()),
    )


def _cell(value: object) -> object:
    return number_cell(value) if value is None or isinstance(value, float) else value
