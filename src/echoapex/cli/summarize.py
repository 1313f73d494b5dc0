"""``echoapex summarize``: the numbers and pictures of a cohort that was analysed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, complain, examples
from echoapex.domain.results import DISCLAIMER

if TYPE_CHECKING:
    from echoapex.infer.outputs.cohort_summary import CohortSummary

app = App(
    name="summarize",
    help="Summarize a cohort: counts, quality, the values of each quantity, what was refused, and pictures.",
    help_epilogue=examples("echoapex summarize results/ --out summary/"),
)


@app.default
def summarize(
    *folders: Path,
    out: Path,
    plots: Literal["none", "png", "svg", "both"] = "png",
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Summarize a cohort: counts, quality, the values of each quantity, what was refused, and pictures.

    A study that lies in several folders counts once. Nothing in the summary names a patient, a study or a file.

    Args:
        folders: output folders of `echoapex analyze` or `echoapex measure`.
        out: folder for summary.csv, refused.csv, summary.json, values.png and clips.png.
        plots: in which forms pictures are drawn; they need the extra plots.
        quiet: show errors only.
    """
    if not folders:
        complain("summarize", "nothing was given to summarize; give the --out folder of echoapex analyze")
        return ExitCode.USAGE
    from echoapex.infer.outputs.cohort_plots import PlotError, require_plots, write_plots
    from echoapex.infer.outputs.cohort_summary import merge_studies, summarize_cohort, write_summary
    from echoapex.infer.study.stored import StoredError, read_stored

    try:
        if plots != "none":
            require_plots()
        stored = [read_stored(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
        studies, left_out = merge_studies(each.studies() for each in stored)
        summary = summarize_cohort(studies, [error for each in stored for error in each.report.errors], left_out)
        write_summary(out, summary)
        write_plots(out, studies, summary, plots)
    except (StoredError, PlotError) as error:
        complain("summarize", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("summarize", f"the summary cannot be written ({error.strerror}); choose another --out")
        return ExitCode.USAGE
    if not quiet:
        _show(summary, out)
    return ExitCode.ALL_GOOD if summary.clips_analysed else ExitCode.NOTHING_ANALYSED


def _show(summary: CohortSummary, out: Path) -> None:
    table = Table(
        "value", "unit", "n", "median", "quartiles", "below", "above", "flagged", box=None, pad_edge=False,
        header_style="dim",
    )  # fmt: skip
    for item in summary.quantities:
        if item.median is not None:
            quartiles = f"{item.quartile_low:.3g} to {item.quartile_high:.3g}"
            shares = (_share(item.below_percent), _share(item.above_percent), _share(item.flagged_percent))
            table.add_row(item.name, item.unit, str(item.measured), f"{item.median:.3g}", quartiles, *shares)
    ERRORS.print(table)
    ERRORS.print(
        f"studies: {summary.studies}; clips: {summary.clips_analysed} analysed, {summary.clips_set_aside} set aside; "
        f"files that failed: {summary.files_failed}; see {out}",
        markup=False,
    )
    if summary.studies_left_out:
        ERRORS.print(f"studies that were in several folders and counted once: {summary.studies_left_out}", markup=False)
    ERRORS.print(DISCLAIMER, style="dim")


def _share(percent: float | None) -> str:
    return "" if percent is None else f"{percent:.0f} %"
