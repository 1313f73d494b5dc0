"""The promptable decoder as ONNX, and what a click and a correction cost a reviewer.

    python benchmarks/decoder_onnx.py [--bundle NAME] [--clicks 60] [--size 600] [--out FILE]

A phantom clip of 60 frames. The same prompts (clicks, boxes, names, masks) go to the exported decoder in ONNX Runtime
and to PyTorch, each with one thread, in turns; then as a reviewer sends them to the server, in native pixels with the
rules that merge a click. Told are size and parity of the file, bytes of an encoded frame, milliseconds of a prompt
(median and 95th percentile), and seconds of a propagation and of a recomputation with a corrected outline. Wall time
depends on what else the machine does; ``cpu_ms`` does not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import onnxruntime
import torch
from figures_file import tell_figures
from phantom_clips import write_a4c

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.review.onnx_files import export_promptable_decoder
from echoapex.infer.review.review_clip import ReviewClip, ReviewModels
from echoapex.io.study_files import open_only_clip
from echoapex.models.decoders.mask_decoder import FineFeatures
from echoapex.models.decoders.prompt_encoder import PointLabel, PromptBatch
from echoapex.models.decoders.promptable import ImageEmbedding
from echoapex.models.onnx_graph import EMBEDDING_NAMES
from echoapex.models.prompt_sampling import Click
from echoapex.vocabulary import Application, Structure

T = TypeVar("T")
FRAMES = 60
Feed = dict[str, np.ndarray]


class Cost(NamedTuple):
    """Milliseconds of one piece of work."""

    wall_ms: float
    cpu_ms: float


def timed(work: Callable[[], T]) -> tuple[T, Cost]:
    """What the work gave, and its cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    return work(), Cost(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))


def draw_prompt(rng: np.random.Generator, side: int) -> Feed:
    """One to five clicks or a box in model pixels, with or without a name and an earlier mask."""
    count = int(rng.integers(1, 6))
    points = rng.uniform(0.2 * side, 0.8 * side, (count, 2))
    labels = rng.integers(0, 2, count)
    if rng.random() < 0.25:
        points = np.sort(rng.uniform(0.2 * side, 0.8 * side, (2, 2)), axis=0)
        labels = np.array([PointLabel.BOX_FIRST_CORNER, PointLabel.BOX_LAST_CORNER])
    return {
        "point_coords": points[None].astype(np.float32),
        "point_labels": labels[None].astype(np.int64),
        "structure": np.array([rng.choice([-1, *Structure])], np.int64),
        "mask_input": rng.normal(0, 4, (1, 1, side // 2, side // 2)).astype(np.float32),
        "has_mask": np.array([float(rng.random() < 0.5)], np.float32),
    }


def ask_torch(models: ReviewModels, embedding: Feed, prompt: Feed) -> np.ndarray:
    """Logits of the decoder itself."""
    encoder = models.interpreter.models.encoders[Application.SEGMENTATION]
    side = encoder.input_size
    patches, half, quarter = (torch.from_numpy(embedding[name]) for name in EMBEDDING_NAMES)
    given = {name: torch.from_numpy(array) for name, array in prompt.items()}
    batch = PromptBatch(
        given["structure"][None],
        given["point_coords"][None],
        given["point_labels"][None],
        given["mask_input"] if prompt["has_mask"][0] else None,
    )
    grid = encoder.encoder.grid_of(side, side)
    with torch.inference_mode():
        image = ImageEmbedding(patches, grid, FineFeatures(half, quarter), (side, side))
        logits: np.ndarray = models.interpreter.models.segmentation.decoder(image, batch).logits.numpy()
    return logits


def compare(models: ReviewModels, clip: ReviewClip, file: Path, clicks: int) -> dict[str, Any]:
    """Parity and time of the exported decoder beside PyTorch, one thread each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    taken: dict[str, list[Cost]] = {"onnx_runtime": [], "torch": []}
    differences, equal = [], []
    for number in range(clicks + 3):
        embedding = clip.embedding(number % clip.frame_count)
        feed = draw_prompt(rng, clip.input_size)
        (found, _), onnx_cost = timed(lambda feed=feed, embedding=embedding: session.run(None, {**embedding, **feed}))
        wanted, torch_cost = timed(lambda feed=feed, embedding=embedding: ask_torch(models, embedding, feed))
        differences.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        equal.append(float(np.mean((found > 0) == (wanted > 0))))
        if number >= 3:  # the first ones warm up
            taken["onnx_runtime"].append(onnx_cost)
            taken["torch"].append(torch_cost)
    return {
        "largest_relative_difference": max(differences),
        "least_share_of_equal_pixels": min(equal),
        "prompt": {name: percentiles(values) for name, values in taken.items()},
    }


def review(clip: ReviewClip, clicks: int) -> dict[str, Any]:
    """What a reviewer waits for at the server: clicks, a propagation, recomputations."""
    rng = np.random.default_rng(1)
    lv, size = Structure.LV_CAVITY, np.array(clip.size[::-1])
    taken, made = [], list[Click]()
    for number in range(clicks):
        if number % 5 == 0:
            made = []
        x, y = rng.uniform(0.3, 0.7, 2) * size
        made = [*made, Click(float(x), float(y), bool(rng.random() < 0.5))]
        frame = number // 5 % clip.frame_count
        clip.automatic(frame, lv)
        taken.append(timed(lambda frame=frame, made=made: clip.segment(frame, lv, made))[1])
    mask = clip.automatic(0, lv) > 0
    mask[: int(0.55 * len(mask))] = False
    _, carried = timed(lambda: clip.propagate(0, lv, mask))
    automatic = clip.reanalyze(ClipCorrection(clip_id=clip.clip_id))
    recomputed = []
    for frame in list(automatic.labels)[:7]:
        labels = {frame: np.where(automatic.labels[frame] == lv, lv, 0).astype(np.uint8)}
        labels[frame][: len(mask) // 2] = 0
        correction = ClipCorrection(clip_id=clip.clip_id, outlined={frame: (lv.key,)})
        recomputed.append(timed(lambda c=correction, m=labels: clip.reanalyze(c, m))[1])
    return {
        "click": percentiles(taken),
        "propagate": seconds(carried),
        "recompute": percentiles(recomputed[1:]),
    }


def percentiles(costs: Sequence[Cost]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile in milliseconds, of wall and CPU time."""
    columns = {name: [getattr(cost, name) for cost in costs] for name in Cost._fields}
    return {
        name: {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (50, 95)}
        for name, values in columns.items()
    }


def seconds(cost: Cost) -> dict[str, float]:
    """Wall and CPU seconds."""
    return {"wall_s": round(cost.wall_ms / 1000, 3), "cpu_s": round(cost.cpu_ms / 1000, 3)}


def measure(bundle: str, clicks: int, size: int, frames: int = FRAMES) -> dict[str, Any]:
    """All figures of a set."""
    torch.set_num_threads(1)
    models = ReviewModels.load(bundle, "cpu", "fp32")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "decoder.onnx"
        card = export_promptable_decoder(models, file)
        source = open_only_clip(write_a4c(Path(folder), frames=frames, size=size)[0])
        clip, opened = timed(lambda: ReviewClip.open(models, source))
        embedding, encoded = timed(lambda: clip.embedding(0))
        return {
            "bundle": models.name,
            "frames": frames,
            "native_size": size,
            "input_size": card.input_size,
            "file_bytes": card.size_bytes,
            "embedding_bytes_per_frame": sum(part.nbytes for part in embedding.values()),
            "open": seconds(opened),
            "encode": seconds(encoded),
            **compare(models, clip, file, clicks),
            "server": review(clip, clicks),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--size", type=int, default=600, help="side of a native frame in pixels")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    tell_figures(measure(chosen.bundle, chosen.clicks, chosen.size), chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
