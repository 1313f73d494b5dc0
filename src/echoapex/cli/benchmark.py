"""``echoapex benchmark``: run the 28 sub-tasks on the data that is there, and write a card of the results.

Writes the card of a benchmark: examples, figures, ``card.json`` and the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from echoapex.cli.benchmark_parts import (
    DONE,
    PART_FOLDER,
    Method,
    PartPlan,
    PhantomPlan,
    RunParts,
    named_data,
    named_folders,
    named_paths,
    plan_parts,
    read_clicks,
)
from echoapex.cli.console import ERRORS, ExitCode, complain, examples
from echoapex.cli.evaluate import Source, read_reference
from echoapex.data.datasets.camus import CamusError
from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.card_file import BenchmarkCard, Example, LabelCurve, PartClicks, card_text
from echoapex.evaluate.card.examples import PICTURE_FOLDER, draw_examples
from echoapex.evaluate.card.figures import standalone
from echoapex.evaluate.card.labels import read_label_curve, read_probe_curves
from echoapex.evaluate.card.page import draw_figures, write_page
from echoapex.evaluate.card.rows import ScoredPart, read_scored_part
from echoapex.evaluate.card.targets import CardError
from echoapex.evaluate.reference import PredictionError, ReferenceSetError
from echoapex.io.clip_source import ReadError
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED, TruthError

CARD_FILE, PAGE_FILE, PLOT_FOLDER = "card.json", "card.html", "plots"


def write_card(
    out: Path,
    parts: Sequence[ScoredPart],
    clicks: Sequence[PartClicks],
    curves: Sequence[LabelCurve],
    plans: Sequence[PartPlan],
) -> BenchmarkCard:
    """Write everything that the card shows below ``out``.

    Args:
        out: folder of the card.
        parts: the scores, in the order of the page.
        clicks: interactive segmentation of some parts.
        curves: training runs by the amount of labels.
        plans: where the files of the parts lie; a part without one gets no examples.

    Raises:
        CardError: the files that were given are not those that were scored, or cannot be read.
    """
    examples: list[Example] = []
    why_not: dict[tuple[str, str], str] = {}
    of = {plan.name: plan for plan in plans}
    for part in parts:
        plan = of.get(part.name)
        if plan is None:
            why_not["examples", part.name] = "the files of the data set were not given"
        elif not _results_of(part).is_dir():
            why_not["examples", part.name] = "the results that were scored do not lie beside the scores"
        else:
            examples += _examples(out, part, plan)
    content = CardContent(title_of(parts), parts, clicks, curves, examples, why_not)
    card = build_card(content)
    figures = draw_figures(card, out)
    for figure in figures:
        write_bytes_atomically(out / PLOT_FOLDER / f"{figure.name}.svg", standalone(figure.svg).encode())
    write_bytes_atomically(out / CARD_FILE, card_text(card).encode())
    write_bytes_atomically(out / PAGE_FILE, write_page(card, figures).encode())
    _remove_others(out / PLOT_FOLDER, "*.svg", {f"{figure.name}.svg" for figure in figures})
    _remove_others(out / PICTURE_FOLDER, "*.jpg", {Path(example.picture).name for example in examples})
    return card


def title_of(parts: Sequence[ScoredPart]) -> str:
    """The sets of weights that were scored, in words."""
    names = sorted({bundle.partition("/")[0] for part in parts for bundle in part.metrics.bundles})
    if not names:
        return "Weights without a name"
    return f"Set {names[0]}" if len(names) == 1 else f"Sets {', '.join(names)}"


def _results_of(part: ScoredPart) -> Path:
    """Where ``echoapex evaluate`` left the results of its own analysis."""
    from echoapex.cli.evaluate import FOUND_VIEWS, GIVEN_VIEWS

    return part.folder / (GIVEN_VIEWS if part.metrics.views.given else FOUND_VIEWS)


def _examples(out: Path, part: ScoredPart, plan: PartPlan) -> list[Example]:
    source = Source(plan.dataset, plan.root, part.metrics.split or plan.split)
    try:
        reference = read_reference(source, out / PART_FOLDER / part.name)
        return list(draw_examples(part, reference, _results_of(part), out))
    except (CamusError, PredictionError, ReadError, ReferenceSetError, TruthError) as error:
        raise CardError(str(error)) from error


def _remove_others(folder: Path, pattern: str, kept: set[str]) -> None:
    """Remove what an earlier card left and this one does not show."""
    for path in folder.glob(pattern):
        if path.name not in kept:
            path.unlink()


app = App(
    name="benchmark",
    help="Run the suite of 28 sub-tasks on the data that you have, and write its card.",
    help_epilogue=examples("echoapex benchmark --out card/", "echoapex benchmark --data camus=CAMUS/ --out card/"),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Phantoms:
    """Simulated patients; they are always scored.

    Attributes:
        phantom: folder of held-out studies of `echoapex phantom`; without it they are drawn into OUT/phantom.
        studies: how many patients are drawn.
        seed: seed of the first one; seeds from 1,000,000 on are never trained on.
        size: height and width of their frames in pixels.
    """

    phantom: Path | None = None
    studies: Annotated[int, Parameter(validator=Number(gte=1))] = 10
    seed: Annotated[int, Parameter(validator=Number(gte=FIRST_HELD_OUT_SEED))] = FIRST_HELD_OUT_SEED + 1
    size: int = 256


@Parameter(name="*")
@dataclass(frozen=True)
class Given:
    """Data and results that exist already; each option can be given several times.

    Attributes:
        data: a real data set and its folder, as camus=DIR, or NAME:camus=DIR to give it another name, for example when
            one data set is scored in two forms.
        split: the split of one of them, as NAME=SPLIT; by default the one of `echoapex evaluate` (val of CAMUS).
        scores: an output folder of `echoapex evaluate`, as NAME=DIR; it is used as it is.
        clicks: an output folder of `echoapex clicks`, as NAME=DIR.
        few_shot: a folder with runs of `echoapex finetune` on few labels, or their seeds.json, as NAME=PATH, for the
            curve by labels.
        label_efficiency: label_efficiency.json of benchmarks/label_efficiency.py; the other encoders are compared
            with the first.
    """

    data: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    clicks: tuple[str, ...] = ()
    few_shot: tuple[str, ...] = ()
    label_efficiency: tuple[Path, ...] = ()


@app.default
def benchmark(
    *,
    out: Path,
    suite: Literal["echoapex28"] = "echoapex28",
    phantoms: Phantoms | None = None,
    given: Given | None = None,
    method: Method | None = None,
    quiet: bool = False,
) -> int:
    """Run the suite on the data that you have; writes card.html, card.json and plots/.

    A part that is finished is not run again, so the same command completes an interrupted run.

    Args:
        out: folder for the card and the results that it is made of.
        suite: the 28 sub-tasks: 18 views, 6 structures, 3 wall dimensions, ejection fraction.
        phantoms: simulated patients.
        given: real data, and what was computed earlier.
        method: how to analyse.
        quiet: show neither progress nor the summary.
    """
    given, method, phantoms = given or Given(), method or Method(), phantoms or Phantoms()
    try:
        written = [read_scored_part(name, folder) for name, folder in named_folders("--scores", given.scores)]
        clicked = [read_clicks(name, folder) for name, folder in named_folders("--clicks", given.clicks)]
        curves = [read_label_curve(name, path) for name, path in named_paths("--few-shot", given.few_shot)]
        curves += [curve for path in given.label_efficiency for curve in read_probe_curves(path)]
        drawn = PhantomPlan(phantoms.phantom, phantoms.studies, phantoms.seed, phantoms.size)
        plans = plan_parts(out, drawn, named_data(given.data, given.split), written)
        run = RunParts(out, method, quiet)
        code = run.all_of(plans, drawn, {each.part for each in clicked})
        if code not in DONE:
            return code
        parts = _in_order([*run.scored, *written])
        _require_known("--clicks", [each.part for each in clicked], parts)
        card = write_card(out, parts, [*run.clicked, *clicked], curves, plans)
    except CardError as error:
        complain("benchmark", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("benchmark", f"{error.filename}: cannot be read or written ({error.strerror}); check --out")
        return ExitCode.USAGE
    if not quiet:
        _summarise(card, out)
    return code


def _in_order(parts: Sequence[ScoredPart]) -> list[ScoredPart]:
    """Phantoms first: only they can fill all rows."""
    return sorted(parts, key=lambda part: part.metrics.dataset != "phantom")


def _require_known(option: str, names: Sequence[str], parts: Sequence[ScoredPart]) -> None:
    known = [part.name for part in parts]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CardError(f"{option} {unknown[0]}=...: there is no such part; name one of {', '.join(known)}")


def _summarise(card: BenchmarkCard, out: Path) -> None:
    measured = sum(bool(row.measured) for row in card.subtasks)
    met = f", {sum(goal.met for goal in card.goals)} of {len(card.goals)} goals met" if card.goals else ""
    simulated = ", on simulated patients alone" if all(part.simulated for part in card.parts) else ""
    ERRORS.print(f"{measured} of {len(card.subtasks)} sub-tasks measured{met}{simulated}", markup=False)
    ERRORS.print(f"see {out / PAGE_FILE} and {out / CARD_FILE}", markup=False)
