"""``echoapex demo``: a real and a simulated study, analysed, and where to look."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import NamedTuple

from cyclopts import App
from rich.markup import escape

from echoapex.cli.console import ExitCode, PipedConsole, examples

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
"""All of one study of one patient, so that its values may be taken together."""


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
        console.print(f"{escape(str(copy))}: {sample.shows}")
    steps = [
        ["phantom", "--studies", "1", "--seed", str(PHANTOM_SEED), "--out", str(out / "phantom")],
        ["analyze", str(out / "real"), "--out", str(out / "real-results"), "--device", device],
        ["analyze", str(out / "phantom"), "--out", str(out / "phantom-results"), "--device", device],
    ]
    codes = [_run_step(console, step) for step in steps]
    _say_where_to_look(console, out)
    return max(codes)


def _run_step(console: PipedConsole, arguments: list[str]) -> int:
    from echoapex.cli import run  # the verbs are loaded by name, this one too

    console.print(f"\n$ echoapex {escape(' '.join(arguments))}", style="bold", highlight=False, soft_wrap=True)
    return run(arguments)


def _say_where_to_look(console: PipedConsole, out: Path) -> None:
    console.print("\nWhere to look", style="bold")
    for name, title in (("real-results", "real study"), ("phantom-results", "simulated study")):
        folder = out / name
        if not (folder / "results.json").is_file():
            console.print(f"  {title}: no results, see the messages above")
            continue
        console.print(f"  {title}:", highlight=False, soft_wrap=True)
        console.print(
            f"    {escape(str(folder / 'preview.png'))}        every clip at a glance", highlight=False, soft_wrap=True
        )
        console.print(
            f"    {escape(str(folder / 'measurements.csv'))}   values with units and evidence", highlight=False
        )
        console.print(
            f"    {escape(str(folder / 'results.json'))}       the same for programs", highlight=False, soft_wrap=True
        )
    truth = sorted((out / "phantom").rglob("truth.json"))
    if truth:
        console.print(f"  truth of the simulated study: {escape(str(truth[0]))}", highlight=False, soft_wrap=True)
