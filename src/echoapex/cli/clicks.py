"""``echoapex clicks``: how good a mask gets by clicks, boxes and names; a program that knows the truth does the clicks.

The click curves as a figure: mean Dice by the number of clicks, an SVG file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.progress import track
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, complain, examples
from echoapex.data.datasets.camus import CamusError
from echoapex.evaluate.click_scores import (
    ClicksFile,
    FollowedClip,
    FollowingScores,
    PromptScores,
    follow_clip,
    score_following,
    score_prompts,
    score_structures,
    write_click_cases,
)
from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ask_about, choose_frames, read_click_images
from echoapex.evaluate.metrics_file import Score
from echoapex.evaluate.reference import ReferenceSet, ReferenceSetError
from echoapex.evaluate.truth import pack_camus, read_phantom_reference
from echoapex.infer.interactive.clicks import InteractiveSegmenter, Refinement
from echoapex.infer.interactive.propagation import InteractiveClip
from echoapex.io.clip_source import ReadError
from echoapex.io.pictures import BACKGROUND, MUTED, RULE, STRUCTURE_COLOURS, TEXT, Colour
from echoapex.io.study_files import open_only_clip
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import BundleError
from echoapex.models.precision import DeviceError
from echoapex.models.registry import find_set
from echoapex.phantom.truth import TruthError
from echoapex.version import __version__
from echoapex.vocabulary import Structure

app = App(
    name="clicks",
    help="Measure interactive segmentation: Dice by the number of clicks, boxes, propagation.",
    help_epilogue=examples("echoapex clicks --dataset phantom --root studies/ --out clicks/"),
)

CLICKS_FILE, CASES_FILE, FIGURE_FILE, INPUT_FOLDER = "clicks.json", "click_cases.csv", "clicks.svg", "inputs"
CORRECTING_CLICKS = 5


@Parameter(name="*")
@dataclass(frozen=True)
class ClickSource:
    """Which images are segmented.

    Attributes:
        dataset: studies of `echoapex phantom`, or CAMUS in its official layout or as camus224.npz.
        root: folder of the data set.
        split: CAMUS: train, val, test or all (val when left out); phantom: train or held_out (all when left out).
        images: how many labelled frames, chosen by the seed; 0 takes all.
    """

    dataset: Literal["phantom", "camus"]
    root: Path
    split: str = ""
    images: Annotated[int, Parameter(validator=Number(gte=0))] = 0


@Parameter(name="*")
@dataclass(frozen=True)
class ClickMethod:
    """How they are segmented.

    Attributes:
        bundle: name or folder of the set of weights.
        device: where the models run.
        clicks: largest number of clicks.
        seed: random seed for the choice of frames and the jitter of boxes.
        refinement: corrections merged into the earlier mask, the bare decoder, or the control without decoder.
        follow: also follow clips whose frames are all labelled from one corrected frame.
    """

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    clicks: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 10
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    refinement: Refinement = "merged"
    follow: bool = True


@app.default
def clicks(*, source: ClickSource, out: Path, method: ClickMethod | None = None, quiet: bool = False) -> int:
    """Measure interactive segmentation on a reference data set.

    A simulated user, who knows the truth, clicks on the largest error until the mask is right. Writes clicks.json
    (every score with n and a 95 % interval), click_cases.csv (the single cases) and clicks.svg (the curves).

    Args:
        source: which images are segmented.
        out: folder for what is written.
        method: how they are segmented.
        quiet: show neither progress nor the summary.
    """
    method = method or ClickMethod()
    try:
        segmenter = InteractiveSegmenter.load(method.bundle, method.device, method.refinement)
        reference = _read_reference(source, out)
        scores, cases = _measure(segmenter, reference, source, method, quiet)
        write_click_cases(out / CASES_FILE, cases)
        write_bytes_atomically(out / CLICKS_FILE, (scores.model_dump_json(indent=1) + "\n").encode())
        _draw(scores, out / FIGURE_FILE)
    except (BundleError, CamusError, DeviceError, ReadError, ReferenceSetError, TruthError) as error:
        complain("clicks", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("clicks", f"a file cannot be read or written ({error.strerror}); check --root and --out")
        return ExitCode.USAGE
    if not quiet:
        ERRORS.print(clicks_table(scores))
        if scores.following is not None:
            ERRORS.print(_followed(scores.following))
        ERRORS.print(f"{scores.patients} patients, {scores.images} images; see {out / CLICKS_FILE}", markup=False)
    return ExitCode.ALL_GOOD


def _read_reference(source: ClickSource, out: Path) -> ReferenceSet:
    if source.dataset == "phantom":
        return read_phantom_reference(source.root, split=source.split)
    return pack_camus(source.root, source.split or "val", out / INPUT_FOLDER)


def _measure(
    segmenter: InteractiveSegmenter, reference: ReferenceSet, source: ClickSource, method: ClickMethod, quiet: bool
) -> tuple[ClicksFile, list[ClickCase]]:
    protocol = ClickProtocol(clicks=method.clicks, seed=method.seed)
    chosen = choose_frames(reference, source.images, method.seed)
    total = sum(len(frames) for _, _, frames in chosen)
    hidden = quiet or not ERRORS.is_terminal
    progress = track(read_click_images(chosen), "Clicking", total, console=ERRORS, disable=hidden)
    cases = [case for image in progress for case in ask_about(segmenter, image, protocol)]
    if not cases:
        raise ReferenceSetError(f"{source.root}: no chosen frame shows an outlined structure; raise --images")
    followed: list[FollowedClip] = []
    if method.follow:
        for patient, clip, _ in track(chosen, "Following", console=ERRORS, disable=hidden):
            followed += follow_clip(
                lambda path: InteractiveClip.open(segmenter, open_only_clip(path)),
                patient,
                clip,
                protocol,
                CORRECTING_CLICKS,
            )
    scores = ClicksFile(
        echoapex_version=__version__,
        dataset=reference.dataset,
        split=reference.split,
        model=find_set(method.bundle).name,
        refinement=method.refinement,
        bundles=segmenter.digests,
        protocol=protocol,
        patients=len({case.patient for case in cases}),
        images=len({(case.clip, case.frame) for case in cases}),
        overall=score_prompts(cases, protocol),
        structures=score_structures(cases, protocol),
        following=score_following(followed, min(CORRECTING_CLICKS, method.clicks)),
    )
    return scores, cases


def _draw(scores: ClicksFile, path: Path) -> None:

    write_bytes_atomically(path, draw_click_curves(scores).encode())


def clicks_table(scores: ClicksFile) -> Table:
    """One row per structure and one for all: Dice by prompt, clicks to the target, share that never gets there."""
    cap = scores.protocol.clicks
    target = f"NoC{100 * scores.protocol.target_dice:.0f}"
    heads = ("structure", "n", "name", "box", "1 click", f"{cap} clicks", f"name+{cap}", target, "never")
    table = Table(*heads, title=None, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    rows = [(s.display_name, scores.of(s)) for s in Structure if s.key in scores.structures]
    for name, found in [*rows, ("all", scores.overall)]:
        table.add_row(name, *_cells(found))
    return table


def _followed(scores: FollowingScores) -> str:
    return (
        f"followed from one corrected frame ({scores.dice.n} structures): Dice {_digits(scores.dice)}, "
        f"automatic {_digits(scores.automatic_dice)}; jitter of the area {_digits(scores.jitter)}, "
        f"automatic {_digits(scores.automatic_jitter)}, truth {_digits(scores.true_jitter)}"
    )


def _cells(found: PromptScores) -> Sequence[str]:
    best = found.from_name if found.from_name.curve else found.from_nothing
    return (
        str(found.box.n),
        _digits(found.name),
        _digits(found.box),
        f"{found.from_nothing.curve[1]:.3f}",
        f"{found.from_nothing.curve[-1]:.3f}",
        f"{found.from_name.curve[-1]:.3f}" if found.from_name.curve else "-",
        _digits(best.noc, 1),
        _digits(best.never, 2),
    )


def _digits(score: Score, digits: int = 3) -> str:
    return "-" if score.value is None else f"{score.value:.{digits}f}"


WIDTH, HEIGHT = 1000, 420
_PANEL_WIDTH, _PANEL_HEIGHT = 300, 290
_LEFT_EDGES, _TOP = (60, 560), 60
_STARTS: tuple[tuple[str, str, Colour], ...] = (
    ("from_name", "from the name", (86, 190, 255)),
    ("from_nothing", "from nothing", (255, 176, 46)),
    ("without_mask", "earlier mask withheld", (178, 150, 255)),
)


class DrawnCurve(NamedTuple):
    """One curve: what it is, its colour, and its values after 0, 1, 2, ... clicks."""

    name: str
    colour: Colour
    values: tuple[float, ...]


def draw_click_curves(scores: ClicksFile) -> str:
    """The text of an SVG with two panels: all structures by where the clicks start, and structure by structure."""
    starts = [DrawnCurve(name, colour, getattr(scores.overall, key).curve) for key, name, colour in _STARTS]
    named = any(line.values for line in starts[:1])
    by_structure = [
        DrawnCurve(
            structure.display_name,
            STRUCTURE_COLOURS[structure],
            (found.from_name if named else found.from_nothing).curve,
        )
        for structure in Structure
        if (found := scores.of(structure)).box.n
    ]
    title = f"{scores.model} on {scores.dataset} {scores.split}".strip()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{_hex(BACKGROUND)}"/>',
        _text(_LEFT_EDGES[0], 28, f"Dice by the number of clicks: {title}", TEXT),
        *_panel(_LEFT_EDGES[0], "all structures", [line for line in starts if line.values], scores),
        *_panel(_LEFT_EDGES[1], f"clicks from {'the name' if named else 'nothing'}", by_structure, scores),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(left: int, title: str, lines: Sequence[DrawnCurve], scores: ClicksFile) -> list[str]:
    """Axes from Dice 0.5 to 1 with the target, the curves, and their names."""
    clicks = scores.protocol.clicks

    def place(count: float, value: float) -> tuple[float, float]:
        height = (min(max(value, 0.5), 1.0) - 0.5) / 0.5
        return left + _PANEL_WIDTH * count / clicks, _TOP + _PANEL_HEIGHT * (1 - height)

    parts = [_text(left, _TOP - 10, title, MUTED)]
    for tenth in range(5, 11):
        y = place(0, tenth / 10)[1]
        parts.append(f'<path d="M{left} {y:.1f}h{_PANEL_WIDTH}" stroke="{_hex(RULE)}"/>')
        parts.append(_text(left - 30, y + 4, f"{tenth / 10:.1f}", MUTED))
    for count in range(clicks + 1):
        parts.append(_text(place(count, 0.5)[0] - 4, _TOP + _PANEL_HEIGHT + 18, str(count), MUTED))
    y = place(0, scores.protocol.target_dice)[1]
    parts.append(f'<path d="M{left} {y:.1f}h{_PANEL_WIDTH}" stroke="{_hex(MUTED)}" stroke-dasharray="4 4"/>')
    parts.append(_text(left, _TOP + _PANEL_HEIGHT + 38, "clicks (Dice below 0.5 is drawn at 0.5)", MUTED))
    for number, line in enumerate(lines):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(c, v) for c, v in enumerate(line.values)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_hex(line.colour)}" stroke-width="2"/>')
        parts.append(_text(left + _PANEL_WIDTH + 8, _TOP + 14 + 18 * number, line.name, line.colour))
    return parts


def _text(x: float, y: float, text: str, colour: Colour) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_hex(colour)}">{escape(text)}</text>'


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
