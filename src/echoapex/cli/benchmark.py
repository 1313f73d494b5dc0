"""``echoapex benchmark``: the 28 sub-tasks on whatever data is there, and a card of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from echoapex.cli.benchmark_card import CARD_FILE, PAGE_FILE, write_card
from echoapex.cli.benchmark_names import named_data, named_folders, named_paths
from echoapex.cli.benchmark_parts import DONE, Method, PhantomPlan, RunParts, plan_parts, read_clicks
from echoapex.cli.console import ERRORS, complain
from echoapex.cli.exit_codes import ExitCode
from echoapex.evaluate.card.card_file import BenchmarkCard
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.label_probes import read_probe_curves
from echoapex.evaluate.card.label_runs import read_label_curve
from echoapex.evaluate.card.scored_part import ScoredPart, read_scored_part
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED

app = App(name="benchmark", help="Run the suite of 28 sub-tasks on the data at hand and write its card.")


@Parameter(name="*")
@dataclass(frozen=True)
class Phantoms:
    """Simulated patients, which are always scored.

    Attributes:
        phantom: folder of held-out studies of `echoapex phantom`; without it they are drawn into OUT/phantom.
        studies: how many patients are drawn.
        seed: the first of them; held out from 1,000,000 on.
        size: height and width of their frames in pixels.
    """

    phantom: Path | None = None
    studies: Annotated[int, Parameter(validator=Number(gte=1))] = 10
    seed: Annotated[int, Parameter(validator=Number(gte=FIRST_HELD_OUT_SEED))] = FIRST_HELD_OUT_SEED + 1
    size: int = 256


@Parameter(name="*")
@dataclass(frozen=True)
class Given:
    """What is there already; each option can be given several times.

    Attributes:
        data: a real data set and its folder, as camus=DIR; NAME:camus=DIR where another name is wanted, as to score one
            data set in two forms.
        split: which part of one of them, as NAME=SPLIT; that of `echoapex evaluate` when left out (val of CAMUS).
        scores: an output folder of `echoapex evaluate`, as NAME=DIR; nothing of it is computed again.
        clicks: an output folder of `echoapex clicks`, as NAME=DIR.
        few_shot: a folder with runs of `echoapex finetune` on few labels, or their seeds.json, as NAME=PATH, for the
            curve by labels.
        label_efficiency: label_efficiency.json of benchmarks/label_efficiency.py; its first encoder is what the others
            are held against.
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
    """Run the suite on the data at hand; writes card.html, card.json and plots/.

    A part that is finished is not run again, so the same command completes an interrupted run.

    Args:
        out: folder for the card and everything behind it.
        suite: the 28 sub-tasks: 18 views, 6 structures, 3 wall dimensions, ejection fraction.
        phantoms: simulated patients.
        given: real data, and what was computed earlier.
        method: how to analyse.
        quiet: neither progress nor the summary.
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
