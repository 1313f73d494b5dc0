"""Pictures of a cohort: how the values of each quantity are distributed, and how many clips of what quality there are.

``values.png``
    a histogram for each quantity that was measured, with the range of its normal limits and the median.
``clips.png``
    analysed clips by view, their quality by view, and the most frequent reasons for what was refused.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from echoapex.domain.reported_study import ReportedStudy
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.outputs.cohort_summary import CohortSummary, values_of
from echoapex.io.temporary_files import replace_when_complete
from echoapex.vocabulary import Quantity, View

PlotKind = Literal["none", "png", "svg", "both"]
_COLUMNS = 4
_DOTS_PER_INCH = 120
_BAR, _NORMAL, _MEDIAN = "#4878a8", "#cfe8cf", "#b03030"
_MOST_REASONS = 8
_WRAP = 34


class PlotError(ValueError):
    """Pictures that cannot be drawn; the message says what to do."""


def require_plots() -> None:
    """Refuse to start where nothing can be drawn.

    Raises:
        PlotError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PlotError("pictures of a cohort need matplotlib: pip install 'echoapex[plots]', or use --plots none")


def write_plots(
    out: Path, studies: Sequence[ReportedStudy], summary: CohortSummary, kind: PlotKind
) -> tuple[Path, ...]:
    """Draw the pictures of a cohort in the forms that were asked for.

    Raises:
        PlotError: matplotlib is not installed.
    """
    endings = {"none": (), "png": ("png",), "svg": ("svg",), "both": ("png", "svg")}[kind]
    if not endings:
        return ()
    require_plots()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "echoapex"  # the same cohort gives the same bytes
    written = []
    for name, figure in (("values", Figure(layout="constrained")), ("clips", Figure(layout="constrained"))):
        if name == "values":
            _draw_values(figure, studies)
        else:
            _draw_clips(figure, studies, summary)
        for ending in endings:
            path = out / f"{name}.{ending}"
            metadata = {"Date": None} if ending == "svg" else {"Software": None}
            with replace_when_complete(path) as partial:
                figure.savefig(partial, format=ending, dpi=_DOTS_PER_INCH, metadata=metadata)
            written.append(path)
    return tuple(written)


def _draw_values(figure: Any, studies: Sequence[ReportedStudy]) -> None:
    """A histogram for each quantity that some study has."""
    found = {quantity: values for quantity in Quantity if (values := values_of(studies, quantity))}
    rows = max(1, -(-len(found) // _COLUMNS))
    figure.set_size_inches(3.2 * _COLUMNS, 2.3 * rows + 0.6)
    legend = "red: median; green: normal limits, of each sex where they differ"
    figure.suptitle(f"Values of {len(studies)} studies ({legend}). {DISCLAIMER}", fontsize=9)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axis, (quantity, values) in zip(axes, found.items(), strict=False):
        numbers = np.array([value.measurement.value for value in values])
        limits = {value.limits[0] for value in values if len(value.limits) == 1}
        axis.hist(numbers, bins=min(30, max(5, round(2 * np.sqrt(len(numbers))))), color=_BAR)
        axis.axvline(np.median(numbers), color=_MEDIAN, linewidth=1.2)
        left, right = axis.get_xlim()
        for limit in limits:
            low, high = (left if limit.low is None else limit.low), (right if limit.high is None else limit.high)
            if low < right and high > left:
                axis.axvspan(max(left, low), min(right, high), color=_NORMAL, zorder=0)
        axis.set_xlim(left, right)
        axis.set_title(textwrap.fill(quantity.display_name, _WRAP), fontsize=8)
        axis.set_xlabel(f"{quantity.unit}  (n = {len(numbers)})", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.xaxis.get_major_locator().set_params(nbins=5)
        axis.yaxis.get_major_locator().set_params(integer=True)
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    if not found:
        figure.text(0.5, 0.4, "no study has a value", ha="center")


def _draw_clips(figure: Any, studies: Sequence[ReportedStudy], summary: CohortSummary) -> None:
    """Views, quality, and the reasons for what was refused."""
    views = [View(name) for name in summary.clips_by_view]
    reasons = summary.refused[:_MOST_REASONS]
    figure.set_size_inches(13, max(3.2, 0.34 * len(views) + 1.2, 0.42 * len(reasons) + 1.2))
    figure.suptitle(
        f"{summary.studies} studies: {summary.clips_analysed} clips analysed, {summary.clips_set_aside} set aside, "
        f"{summary.files_failed} files failed. {DISCLAIMER}",
        fontsize=9,
    )
    by_view, by_quality, by_reason = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    names = [view.value for view in views]
    by_view.barh(names, list(summary.clips_by_view.values()), color=_BAR)
    by_view.set_title("Analysed clips by view", fontsize=8)
    clips = [clip for study in studies for clip in study.analysed]
    quality = [[clip.quality for clip in clips if clip.view is view and clip.quality is not None] for view in views]
    if views:
        by_quality.boxplot(quality, orientation="horizontal", tick_labels=names, medianprops={"color": _MEDIAN})
    by_quality.set_xlim(0, 1)
    by_quality.set_title("Quality by view, 0 to 1", fontsize=8)
    labels = [textwrap.fill(f"{what}: {reason}", 46, max_lines=2, placeholder=" ...") for what, reason, _ in reasons]
    by_reason.barh(range(len(labels)), [count for *_, count in reasons], color=_BAR)
    by_reason.set_ylim(-0.6, _MOST_REASONS - 0.4)
    by_reason.set_yticks(range(len(labels)), labels)
    by_reason.set_title("Most frequent refusals", fontsize=8)
    for axis in (by_view, by_quality, by_reason):
        axis.invert_yaxis()
        axis.tick_params(labelsize=7)
    for axis in (by_view, by_reason):
        axis.xaxis.get_major_locator().set_params(integer=True)
