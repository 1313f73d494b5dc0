"""``echoapex demo``: analyse a real and a simulated study, and say where to look."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cyclopts import App
from rich.markup import escape
from rich.table import Table

from echoapex.cli.console import ExitCode, PipedConsole, examples
from echoapex.domain import StudyReport
from echoapex.domain.results import DISCLAIMER
from echoapex.phantom.truth import TRUTH_FILE, read_truth
from echoapex.vocabulary import Quantity, View

app = App(
    name="demo",
    help="Assemble a real and a simulated study, analyse both, and say where to look.",
    help_epilogue=examples("echoapex demo --out demo/"),
)

PHANTOM_SEED = 1_000_001
"""A held-out patient: no shipped weight was trained on seeds from 1,000,000 on."""


class SampleFile(NamedTuple):
    """A real echocardiogram that a pip package installs: its package on PyPI, where it lies, and what it shows."""

    distribution: str
    package: str
    folder: str
    name: str
    shows: str


REAL_FILES = (
    SampleFile("pydicom-data", "data_store", "data", "color3d_jpeg_baseline.dcm", "apical four-chamber loop"),
    SampleFile(
        "pydicom",
        "pydicom",
        "data/test_files",
        "examples_ybr_color.dcm",
        "its first second again at half the size: a copy, which counts once",
    ),
)
"""All of one study of one patient, so their values can be combined."""


class DemoError(ValueError):
    """The demonstration cannot be assembled; the message says what to install."""


def find_sample(sample: SampleFile) -> Path:
    """Where the package installed a sample file; the package itself is not imported.

    Raises:
        DemoError: the package, or the file in it, is not there.
    """
    spec = importlib.util.find_spec(sample.package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / sample.folder / sample.name
        if path.is_file():
            return path
    raise DemoError(
        f"{sample.name} is not installed; run: pip install 'echoapex[demo]' (package {sample.distribution})"
    )


def assemble_real_study(folder: Path) -> list[Path]:
    """Copy the real sample files into ``folder`` and return the copies.

    Raises:
        DemoError: a file is not installed.
    """
    sources = [find_sample(sample) for sample in REAL_FILES]
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source, folder / source.name)) for source in sources]


@app.default
def demo(*, out: Path = Path("demo"), device: str = "auto") -> int:
    """Analyse one real study from pip packages and one simulated study, offline.

    Args:
        out: folder for the two studies and their results; what is there already is completed.
        device: where the models run: auto, cpu, cuda or mps.
    """
    console = PipedConsole()
    try:
        copies = assemble_real_study(out / "real")
    except DemoError as error:
        PipedConsole(stderr=True).print(f"echoapex demo: {escape(str(error))}")
        return ExitCode.NOTHING_ANALYSED
    for copy, sample in zip(copies, REAL_FILES, strict=True):
        console.print(f"{escape(str(copy))}: {sample.shows}", highlight=False, soft_wrap=True)
    steps = [
        ["phantom", "--studies", "1", "--seed", str(PHANTOM_SEED), "--out", str(out / "phantom")],
        ["analyze", str(out / "real"), "--out", str(out / "real-results"), "--device", device],
        ["analyze", str(out / "phantom"), "--out", str(out / "phantom-results"), "--device", device],
    ]
    began = time.monotonic()
    codes = [_run_step(console, step) for step in steps]
    _summarise(console, out, time.monotonic() - began)
    return max(codes)


def _run_step(console: PipedConsole, arguments: list[str]) -> int:
    from echoapex.cli import run  # the verbs are loaded by name, this one too

    console.print(f"\n$ echoapex {escape(' '.join(arguments))}", style="bold", highlight=False, soft_wrap=True)
    return run(arguments)


STUDIES = {"real study": "real-results", "simulated study": "phantom-results"}
"""The studies of the demonstration, and the folders of their results."""
SHOWN = (
    Quantity.LVEF,
    Quantity.EDV,
    Quantity.ESV,
    Quantity.IVSD,
    Quantity.LVIDD,
    Quantity.LVPWD,
    Quantity.LV_MASS,
    Quantity.HEART_RATE,
)
"""What the summary shows; measurements.csv has all."""


def _summarise(console: PipedConsole, out: Path, seconds: float) -> None:
    """The values of both studies beside the truth of the simulated one, and where to look."""
    from echoapex.infer.outputs.clip_pictures import LOOK_TWICE

    reports = {title: _read_report(out / folder) for title, folder in STUDIES.items()}
    console.print("\nWhat was found", style="bold")
    console.print(summary_table(reports, _read_truth(out / "phantom")))
    console.print(f"{LOOK_TWICE}: the reason is in the column flags of measurements.csv", style="dim", soft_wrap=True)
    console.print("\nWhere to look", style="bold")
    for title, folder in STUDIES.items():
        where = f"{out / folder}/preview.png, measurements.csv, overlays/"
        told = where if reports[title] is not None else "no results, see the messages above"
        console.print(f"  {title}: {told}", highlight=False, soft_wrap=True, markup=False)
    for truth in sorted((out / "phantom").rglob(TRUTH_FILE)):
        console.print(f"  truth of the simulated study: {truth}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"\n{seconds:.0f} s in all. {DISCLAIMER}", highlight=False, soft_wrap=True, markup=False)


def summary_table(reports: Mapping[str, StudyReport | None], truth: Mapping[Quantity, float]) -> Table:
    """One row for each value, with its unit: by study, and the truth of the simulated one."""
    from echoapex.infer.outputs.clip_pictures import value_text

    table = Table("", *reports, "simulated truth", box=None, pad_edge=False, header_style="dim")
    found = {
        title: {item.quantity: value_text(item) for item in report.measurements} if report else {}
        for title, report in reports.items()
    }
    for quantity in SHOWN:
        cells = [found[title].get(quantity, "-") for title in reports]
        true = f"{truth[quantity]:.1f} {quantity.unit}" if quantity in truth else ""
        if set(cells) != {"-"}:
            table.add_row(quantity.display_name, *cells, true)
    analysed = [_analysed(report) if report else "-" for report in reports.values()]
    table.add_row("clips analysed", *analysed, "")
    return table


def _analysed(report: StudyReport) -> str:
    return f"{sum(1 for clip in report.clips if not clip.set_aside)} of {len(report.clips) + len(report.errors)}"


def _read_report(folder: Path) -> StudyReport | None:
    """The results of one study; None where there are none."""
    try:
        return StudyReport.model_validate_json((folder / "results.json").read_bytes())
    except (OSError, ValueError):
        return None


def _read_truth(folder: Path) -> dict[Quantity, float]:
    """What is true of the simulated patient; empty where the study was not written."""
    for path in sorted(folder.rglob(TRUTH_FILE)):
        truth = read_truth(path.parent)
        known = {
            Quantity.LVEF: truth.ejection_fraction_percent,
            Quantity.EDV: truth.edv_ml,
            Quantity.ESV: truth.esv_ml,
            Quantity.HEART_RATE: truth.patient.heart_rate_bpm,
        }
        plax = truth.find(View.PLAX)
        if plax is not None and plax.walls is not None:
            walls = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
            known |= {quantity: plax.walls.value_mm(quantity) for quantity in walls}
        return known
    return {}
