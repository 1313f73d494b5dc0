"""``echoapex datasets``: which public data sets can be read, how to get them, and whether a copy is complete."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, PipedConsole, complain, examples
from echoapex.data.datasets import DATASETS, DatasetDescription, DatasetError, Finding, Inspection, Severity
from echoapex.vocabulary import SubTask

app = App(
    name="datasets",
    help="List the public data sets that can be read, and verify a copy of one.",
    help_epilogue=examples(
        "echoapex datasets list", "echoapex datasets verify echonet_dynamic --root EchoNet-Dynamic/"
    ),
)

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_WORDS = {Severity.ERROR: "wrong", Severity.WARNING: "doubtful", Severity.NOTE: "note"}


@app.default
@app.command(name="list")
def show_datasets() -> int:
    """List each data set with its licence, how to apply, the files that are expected, and the tasks it serves."""
    console = PipedConsole()
    for name, description in DATASETS.items():
        console.print(_description_table(name, description))
        console.print()
    return ExitCode.ALL_GOOD


@app.command(name="verify")
def verify(
    name: str,
    *,
    root: Path,
    every_file: Annotated[bool, Parameter(name="--all")] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Check a copy of a data set: files, counts, splits, digests, known cases, spacing, and whether clips can be read.

    Exit codes: 0 all good, 2 wrong usage, 3 something is wrong, 4 nothing can be used.

    Args:
        name: a data set of `echoapex datasets`, for example echonet_dynamic.
        root: its folder.
        every_file: open every clip instead of a sample.
        as_json: print the findings as one JSON object.
    """
    description = DATASETS.get(name)
    if description is None:
        complain("datasets", f"there is no data set {name!r}; known: {', '.join(DATASETS)}")
        return ExitCode.USAGE
    if not root.is_dir():
        complain("datasets", f"{root} is not a folder; give the folder of the data set with --root")
        return ExitCode.USAGE
    try:
        inspection = _inspect(description, root, every_file)
    except (DatasetError, OSError) as error:
        _report_unusable(name, root, error, as_json)
        return ExitCode.NOTHING_ANALYSED
    _report(name, inspection, as_json)
    if not inspection.usable:
        return ExitCode.NOTHING_ANALYSED
    return ExitCode.ALL_GOOD if inspection.is_sound else ExitCode.SOME_FILES_FAILED


def _inspect(description: DatasetDescription, root: Path, every_file: bool) -> Inspection:
    """Run the verifier, with a progress bar on a terminal."""
    progress = Progress(
        TextColumn("opening files"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        console=ERRORS,
        transient=True,
        disable=not ERRORS.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=None)

        def on_file(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        inspection = Inspection(root, every_file=every_file, on_file=on_file)
        description.inspect(inspection)
    return inspection


def _report(name: str, inspection: Inspection, as_json: bool) -> None:
    findings = inspection.findings
    if as_json:
        content = {
            "dataset": name,
            "sound": inspection.is_sound and inspection.usable > 0,
            "usable": inspection.usable,
            "counted": inspection.counted,
            "findings": [asdict(finding) for finding in findings],
        }
        _print_json(content)
        return
    console = PipedConsole(soft_wrap=True, highlight=False)
    for finding in findings:
        console.print(_in_words(finding))
    counted = ", ".join(f"{number:,} {what}" for what, number in inspection.counted.items())
    verdict = "sound" if inspection.is_sound and inspection.usable else "not sound"
    console.print(f"[bold]{name}: {verdict}[/bold]; {inspection.usable:,} clips can be used ({escape(counted)})")


def _in_words(finding: Finding) -> str:
    style = _STYLES[finding.severity]
    more = f" (and {finding.more:,} more like it)" if finding.more else ""
    place = "" if finding.file in (".", "") else f"{finding.file}: "
    text = escape(f"{place}{finding.problem}{more}; {finding.remedy}")
    return f"[{style}]{_WORDS[finding.severity]}[/{style}]  {text}"


def _report_unusable(name: str, root: Path, error: Exception, as_json: bool) -> None:
    if as_json:
        finding = Finding(Severity.ERROR, "layout", ".", str(error), "see echoapex datasets for the expected files")
        content = {"dataset": name, "sound": False, "usable": 0, "counted": {}, "findings": [asdict(finding)]}
        _print_json(content)
        return
    complain("datasets", str(error) if isinstance(error, DatasetError) else f"{root} cannot be read ({error})")


def _print_json(content: object) -> None:
    PipedConsole(soft_wrap=True).print(json.dumps(content, indent=2, ensure_ascii=False), markup=False, highlight=False)


def _description_table(name: str, description: DatasetDescription) -> Table:
    """A data set for people."""
    table = Table(title=name, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "what": description.title,
        "licence": description.licence,
        "how to apply": description.access,
        "cite": description.citation,
        "expected files": "\n".join(description.files),
        "serves": _tasks_in_words(description.tasks),
    }
    for key, text in rows.items():
        table.add_row(key, escape(text))
    return table


def _tasks_in_words(tasks: tuple[SubTask, ...]) -> str:
    """The sub-tasks by application: ``view_classification: A4C, A2C``."""
    by_application: dict[str, list[str]] = {}
    for task in tasks:
        by_application.setdefault(task.application, []).append(task.key.partition("/")[2])
    return "; ".join(f"{application}: {', '.join(subjects)}" for application, subjects in by_application.items())
