"""``echoapex phantom``: write simulated studies as DICOM, with their truth."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.progress import track

from echoapex.cli.console import ExitCode, PipedConsole, examples
from echoapex.io.dicom.writer import UltrasoundSyntax
from echoapex.phantom import PhantomError
from echoapex.phantom.study import StudyLabels, StudyPlan, StudyPlanError, write_studies
from echoapex.vocabulary import View

app = App(
    name="phantom",
    help="Write simulated studies as DICOM, with the exact truth of every measurement.",
    help_epilogue=examples(
        "echoapex phantom --studies 2 --seed 42 --out studies/",
        "echoapex phantom --studies 1 --seed 1000001 --views A4C,PLAX --out study/",
    ),
)


@Parameter(name="*")
@dataclass(frozen=True)
class StudyContent:
    """What the studies hold.

    Attributes:
        size: height and width of a frame in pixels.
        views: only these views, for example A4C,PLAX; all 18 when left out.
        labels: label maps of ED and ES only, or of every frame.
        syntax: pixels as JPEG baseline, uncompressed, or RLE.
        ecg: also store the ECG of each clip, as a waveform.
    """

    size: int = 256
    views: str = ""
    labels: StudyLabels = "ed_es"
    syntax: Literal["jpeg", "raw", "rle"] = "jpeg"
    ecg: bool = False


@app.default
def phantom(
    *,
    studies: Annotated[int, Parameter(validator=Number(gte=1))],
    seed: Annotated[int, Parameter(validator=Number(gte=0))],
    out: Path,
    content: StudyContent | None = None,
    workers: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    quiet: bool = False,
) -> int:
    """Write simulated studies as DICOM, with the exact truth of every measurement in truth.json.

    A study is one patient in all views. Seeds below 1,000,000 are for training, all others are held out for
    evaluation. Finished studies are kept, so the same command completes an interrupted run.

    Args:
        studies: how many studies.
        seed: seed of the first patient; every further study takes the next one. The same seed gives the same bytes.
        out: folder for the study folders.
        content: what the studies hold.
        workers: processes at work at the same time.
        quiet: show no progress bar.
    """
    content = content or StudyContent()
    console = PipedConsole(stderr=True)
    try:
        syntax = UltrasoundSyntax(content.syntax)
        plan = StudyPlan(parse_views(content.views), content.size, content.labels, syntax, content.ecg)
        for _ in track(
            write_studies(out, studies=studies, seed=seed, plan=plan, workers=workers),
            description="Simulating studies",
            total=studies,
            console=console,
            disable=quiet or not console.is_terminal,
        ):
            pass
    except (StudyPlanError, PhantomError) as error:
        sys.stderr.write(f"echoapex: {error}\n")
        return ExitCode.USAGE
    return ExitCode.ALL_GOOD


def parse_views(text: str) -> tuple[View, ...]:
    """Views from ``A4C,PLAX``; all of them from an empty text.

    Raises:
        StudyPlanError: a name is not a view.
    """
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(View)]
    if unknown:
        raise StudyPlanError(f"--views: {', '.join(unknown)} is not a view; known: {', '.join(View)}")
    return tuple(View(name) for name in names) or tuple(View)
