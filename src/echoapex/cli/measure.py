"""``echoapex measure``: the measurements of an analysis once more, from its stored contours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from echoapex.cli.console import ERRORS, ExitCode, complain, examples

if TYPE_CHECKING:
    from echoapex.infer.study.remeasure import Remeasured
    from echoapex.infer.study.stored import StoredAnalysis

app = App(
    name="measure",
    help="Compute the measurements of an analysis again from its stored contours, without the models.",
    help_epilogue=examples(
        "echoapex measure results/", "echoapex measure results/ --calibration corrected.csv --out corrected/"
    ),
)


@app.default
def measure(
    folder: Path,
    *,
    out: Path | None = None,
    calibration: Path | None = None,
    cohort: Literal["none", "csv", "parquet", "both"] = "none",
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Compute the measurements of an analysis again from its stored contours, without the models.

    Without a calibration and with the same version, every value comes out as it was. The ejection fraction by
    regression and the heart rate come from the frames and are kept. The results in the folder stay as they are.

    Args:
        folder: output folder of `echoapex analyze`.
        out: another folder for results.json, measurements.csv, errors.csv, manifest.json and records of the clips;
            without it the values are only compared.
        calibration: CSV table of corrected pixel sizes: clip_id, row_mm, column_mm.
        cohort: also write one table with a row for each value of each study into OUT.
        quiet: show errors only.
    """
    if out is not None and out.resolve() == folder.resolve():
        complain("measure", "the results would be replaced by those made from them; choose another --out")
        return ExitCode.USAGE
    if out is None and cohort != "none":
        complain("measure", "--cohort writes files; give --out FOLDER")
        return ExitCode.USAGE
    from echoapex.infer.outputs.report_files import ReportOutput, ReportOutputError
    from echoapex.infer.study.remeasure import RemeasureError, read_calibrations, remeasure, write_remeasured
    from echoapex.infer.study.stored import StoredError, read_stored

    try:
        table = ReportOutput(cohort=cohort)
        stored = read_stored(folder)
        found = remeasure(stored, read_calibrations(calibration) if calibration else None)
        if out is not None:
            write_remeasured(out, stored, found, table)
    except (StoredError, RemeasureError, ReportOutputError) as error:
        complain("measure", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("measure", f"the results cannot be written ({error.strerror}); choose another --out")
        return ExitCode.USAGE
    if not quiet:
        _show(stored, found, out)
    return ExitCode.ALL_GOOD


def _show(stored: StoredAnalysis, found: Remeasured, out: Path | None) -> None:
    changed = sum(
        1
        for old in stored.report.measurements
        if not any(
            new.quantity is old.quantity
            and new.value == old.value
            and new.details.get("study") == old.details.get("study")
            for new in found.report.measurements
        )
    )
    lines = [
        f"values of clips: {found.same} as they were, {found.changed} changed, {found.kept} kept from the frames",
        f"values of studies: {len(stored.report.measurements) - changed} as they were, {changed} changed",
    ]
    if out is not None:
        lines.append(f"written to {out}")
    for line in lines:
        ERRORS.print(line, markup=False)
