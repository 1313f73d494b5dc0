"""``echoapex clicks``: how far clicks, boxes and names lead, by a simulated person who knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.progress import track
from rich.table import Table

from echoapex.cli.console import ERRORS, complain
from echoapex.cli.exit_codes import ExitCode
from echoapex.data.datasets.camus import CamusError
from echoapex.evaluate.camus_truth import pack_camus
from echoapex.evaluate.click_cases import choose_frames, read_click_images
from echoapex.evaluate.click_scores import score_following, score_prompts, score_structures, write_click_cases
from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ask_about
from echoapex.evaluate.clicks_file import ClicksFile, FollowingScores, PromptScores
from echoapex.evaluate.clip_following import FollowedClip, follow_clip
from echoapex.evaluate.metrics_file import Score
from echoapex.evaluate.phantom_truth import read_phantom_reference
from echoapex.evaluate.reference import ReferenceSet, ReferenceSetError
from echoapex.infer.clip_propagation import InteractiveClip
from echoapex.infer.interactive import InteractiveSegmenter, Refinement
from echoapex.infer.task_interpreter import DeviceError
from echoapex.io.atomic_file import write_bytes_atomically
from echoapex.io.clip_source import ReadError
from echoapex.io.read_clip import open_only_clip
from echoapex.models.bundle import BundleError
from echoapex.phantom.truth import TruthError
from echoapex.version import __version__
from echoapex.vocabulary import Structure

app = App(name="clicks", help="Measure interactive segmentation: Dice by the number of clicks, boxes, propagation.")

CLICKS_FILE, CASES_FILE, FIGURE_FILE, INPUT_FOLDER = "clicks.json", "click_cases.csv", "clicks.svg", "inputs"
CORRECTING_CLICKS = 5


@Parameter(name="*")
@dataclass(frozen=True)
class ClickSource:
    """What to ask about.

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
    """How to ask.

    Attributes:
        bundle: name or folder of the set of weights.
        device: where the models run.
        clicks: the cap of the number of clicks.
        seed: of the choice of frames and of the jitter of boxes.
        refinement: corrections merged into the earlier mask, the bare decoder, or the control without decoder.
        follow: also follow clips whose frames are all labelled from one corrected frame.
    """

    bundle: str = "phantom"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    clicks: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 10
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    refinement: Refinement = "merged"
    follow: bool = True


@app.default
def clicks(*, source: ClickSource, out: Path, method: ClickMethod | None = None, quiet: bool = False) -> int:
    """Measure interactive segmentation on a reference data set.

    A simulated person who knows the truth clicks on the largest error until nothing is wrong. Writes clicks.json
    (every score with n and a 95 % interval), click_cases.csv (what is behind it) and clicks.svg (the curves).

    Args:
        source: what to ask about.
        out: folder for what is written.
        method: how to ask.
        quiet: neither progress nor the summary.
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
        model=Path(method.bundle).name,
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
    from echoapex.cli.click_figure import draw_click_curves

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
