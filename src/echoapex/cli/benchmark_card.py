"""Writes the card of a benchmark: examples, figures, ``card.json`` and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from echoapex.cli.benchmark_parts import PART_FOLDER, PartPlan
from echoapex.cli.evaluate import Source, read_reference
from echoapex.data.datasets.camus import CamusError
from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.card_file import BenchmarkCard, Example, LabelCurve, PartClicks, card_text
from echoapex.evaluate.card.drawing import standalone
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.examples import PICTURE_FOLDER, draw_examples
from echoapex.evaluate.card.page import draw_figures, write_page
from echoapex.evaluate.card.scored_part import ScoredPart
from echoapex.evaluate.predictions import PredictionError
from echoapex.evaluate.reference import ReferenceSetError
from echoapex.io.atomic_file import write_bytes_atomically
from echoapex.io.clip_source import ReadError
from echoapex.phantom.truth import TruthError

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
    from echoapex.cli.evaluation_runs import FOUND_VIEWS, GIVEN_VIEWS

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
