"""How far few labels carry an encoder: linear probes of frozen features on the four tasks, by share of the labels.

    python benchmarks/label_efficiency.py --encoder random --encoder shipped=src/echoapex/weights/phantom/encoder \
        --out DIR [--camus FOLDER] [--patients 200] [--judged 60] [--size 112] [--seeds 5]

Simulated patients are drawn with seeds that no recipe trains on; the judged ones are others. Every encoder sees the
same frames and the same choices of labelled patients (1, 5, 10, 50 and 100 %), and is never changed. One linear map per
task is fitted by ridge regression, its penalty chosen by leave-one-out on the labelled patients alone:

- ``views``: class token and mean patch to one of 18 views; recall averaged over views.
- ``segmentation``: each patch token to the LV cavity's cover of its 4 x 4 parts (A4C, A2C, A3C); Dice of the parts.
- ``lv_wall``: all patch tokens to the four wall end points of PLAX; mean distance in mm.
- ``ejection_fraction``: mean and spread of the frame tokens over a beat (A4C) to the ejection fraction; points.
- ``camus`` (with ``--camus``): as segmentation, fitted on patients of the official training split, judged on ``val``.
- ``real_views`` (with ``--real``): as views, judged on real clips in folders named after their view.

``random`` is a fresh ViT-Ti/16, ``random-small`` a fresh ViT-S/16. Writes ``label_efficiency.json``, ``.md`` and, where
matplotlib is installed, ``.png``. Intervals are 95 %: of draws of labelled patients and of judged patients together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from label_efficiency_page import SHARES, Results, draw_picture, write_table
from real_clips import RealClipsError, find_real_clips
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoapex.data.datasets.records import DatasetError
from echoapex.data.frame_source import whole_frames
from echoapex.data.preprocess import prepare_frames
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.dataset_store import write_camus_store
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.domain import WallPoint
from echoapex.io.study_files import open_only_clip
from echoapex.models.bundle import BundleError, build_encoder_from, load_bundle
from echoapex.models.encoder import EncoderConfig, VisionTransformer, encode_clip
from echoapex.recipes.clips import open_phantom_store
from echoapex.recipes.recipe import Workspace
from echoapex.vocabulary import Structure, View

PENALTIES = tuple(10.0**power for power in range(-1, 6))
PARTS = 4
"""A patch's cover is predicted in this many parts per side."""
RESAMPLES = 200
_REAL_FRAMES = 16
_FRAMES_SEEDS, _EF_SEEDS, _JUDGED_FRAMES_SEEDS, _JUDGED_EF_SEEDS = 160_000, 164_000, 170_000, 172_000
_MOST_PATIENTS = (_EF_SEEDS - _FRAMES_SEEDS) // len(View), (_JUDGED_EF_SEEDS - _JUDGED_FRAMES_SEEDS) // len(View)
"""Labelled and judged: with more of them somebody would be both, or be labelled for two tasks."""
_APICAL = (View.A4C, View.A2C, View.A3C)


@dataclass(frozen=True, eq=False)
class Probe:
    """One task of one encoder.

    Attributes:
        features: one row per example.
        targets: one row per example.
        patient: of each example; the labelled patients of a share are chosen among these.
        judged_features: the same of patients who are judged.
        fit_and_score: of the features and targets of some labelled patients; gives one score per judged patient.
    """

    features: np.ndarray
    targets: np.ndarray
    patient: np.ndarray
    judged_features: np.ndarray
    fit_and_score: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Frames of some clips as an encoder sees them.

    Attributes:
        frame_tokens: class token beside the mean patch, ``(clips, frames, 2 * width)``.
        patches: ``(clips, frames, patches, width)``.
        grid: patches per side.
    """

    frame_tokens: np.ndarray
    patches: np.ndarray
    grid: int


def encode(encoder: VisionTransformer, store: ClipStore, clips: np.ndarray, size: int) -> Encoded:
    """Frames of some clips of a store, encoded."""
    parts = [encode_frames(encoder, whole_frames(store, int(clip), size)) for clip in clips]
    return Encoded(
        np.stack([part.frame_tokens for part in parts]), np.stack([part.patches for part in parts]), parts[0].grid
    )


def encode_frames(encoder: VisionTransformer, pixels: np.ndarray) -> Encoded:
    """Frames of one clip, encoded, without an axis of clips."""
    last = (encoder.config.depth - 1,)
    encoded = encode_clip(encoder, last, pixels, [0.0] * len(pixels)).tokens[0]
    patch = encoded.patches.float().numpy()
    tokens = np.concatenate([encoded.class_token.float().numpy(), patch.mean(axis=1)], axis=1)
    return Encoded(tokens, patch.astype(np.float16), pixels.shape[-1] // encoder.config.patch_size)


def covered_parts(labels: np.ndarray, grid: int, structure: Structure) -> np.ndarray:
    """Whether a structure covers the parts of each patch, ``(grid * grid, PARTS * PARTS)`` of 0 and 1.

    Args:
        labels: a square label map.
        grid: patches per side.
        structure: which one.
    """
    cells = grid * PARTS
    at = ((np.arange(cells) + 0.5) * len(labels) / cells).astype(int)
    inside = labels[np.ix_(at, at)] == structure
    parts = inside.reshape(grid, PARTS, grid, PARTS).transpose(0, 2, 1, 3)
    result: np.ndarray = parts.reshape(grid * grid, PARTS * PARTS).astype(np.float32)
    return result


def dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of each image, both ``(images, parts)`` of booleans; 1 where both are empty."""
    both, sizes = (found & truth).sum(axis=1), found.sum(axis=1) + truth.sum(axis=1)
    result: np.ndarray = np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))
    return result


def mean_by_patient(scores: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """The mean score of each patient, in order of patients."""
    return np.array([scores[patient == each].mean() for each in np.unique(patient)])


def views_probe(known: Encoded, truth: ClipStore, judged: Encoded, judged_truth: ClipStore) -> Probe:
    """Every frame's view. Every patient has every view, so that the mean over patients is the balanced accuracy."""
    count = known.frame_tokens.shape[1]
    view, judged_view = (np.repeat(store.truth["view"], count) for store in (truth, judged_truth))
    judged_patient = np.repeat(patients_of(judged_truth), count)

    def fit_and_score(features: np.ndarray, targets: np.ndarray, judged_features: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(features, targets)
        return mean_by_patient((model.predict(judged_features) == judged_view).astype(float), judged_patient)

    return Probe(
        _rows(known.frame_tokens), view, np.repeat(patients_of(truth), count), _rows(judged.frame_tokens), fit_and_score
    )


def real_views_probe(known: Encoded, truth: ClipStore, clips: Sequence[tuple[np.ndarray, View]]) -> Probe:
    """Views taught by simulated frames, judged on real clips: the frames of a clip decide together.

    Args:
        known: encoded frames of simulated clips.
        truth: of these clips.
        clips: tokens of some frames of each real clip, and the view that it shows.
    """
    count = known.frame_tokens.shape[1]
    owner = np.repeat(np.arange(len(clips)), [len(tokens) for tokens, _ in clips])
    views = list(View)
    asked = [views.index(view) for _, view in clips]

    def fit_and_score(features: np.ndarray, targets: np.ndarray, judged_features: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(features, targets)
        scores = model.decision_function(judged_features)
        called = [model.classes_[scores[owner == clip].mean(axis=0).argmax()] for clip in range(len(clips))]
        return (np.array(called) == asked).astype(float)

    patient, view = np.repeat(patients_of(truth), count), np.repeat(truth.truth["view"], count)
    return Probe(
        _rows(known.frame_tokens), view, patient, np.concatenate([tokens for tokens, _ in clips]), fit_and_score
    )


def segmentation_probe(
    known: Encoded,
    truth: ClipStore,
    clips: np.ndarray,
    judged: Encoded,
    judged_truth: ClipStore,
    judged_clips: np.ndarray,
) -> Probe:
    """Every labelled frame's LV cavity, patch by patch."""
    (images, target), (judged_images, judged_target) = (
        _labelled_patches(encoded, store, which)
        for encoded, store, which in ((known, truth, clips), (judged, judged_truth, judged_clips))
    )
    each = known.grid**2
    frames = len(images) // each // len(clips), len(judged_images) // each // len(judged_clips)
    judged_patient = np.repeat(patients_of(judged_truth)[judged_clips], frames[1])

    def fit_and_score(features: np.ndarray, targets: np.ndarray, judged_features: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features, targets)
        found = model.predict(judged_features) > 0.5
        shape = (len(judged_patient), -1)
        return mean_by_patient(dice(found.reshape(shape), judged_target.reshape(shape) > 0.5), judged_patient)

    patient = np.repeat(patients_of(truth)[clips], frames[0] * each)
    return Probe(images, target, patient, judged_images, fit_and_score)


def wall_probe(known: Encoded, truth: ClipStore, judged: Encoded, judged_truth: ClipStore) -> Probe:
    """The wall end points of every PLAX clip, all patches together."""
    plax = list(View).index(View.PLAX)

    def examples(encoded: Encoded, store: ClipStore) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rows = np.flatnonzero((store.truth["view"] == plax) & (store.truth["wall_frame"] >= 0))
        frame = store.truth["wall_frame"][rows]
        points_mm = store.truth["wall_points"][rows] * store.truth["mm_per_px"][rows][:, None, None]
        features = encoded.patches[rows, frame].reshape(len(rows), -1).astype(np.float32)
        share = store.truth["wall_points"][rows] / store.frames(0).shape[-1]  # of the image's side
        return features, share.reshape(len(rows), -1), patients_of(store)[rows], points_mm

    features, targets, patient, _ = examples(known, truth)
    judged_features, judged_share, judged_patient, points_mm = examples(judged, judged_truth)
    side_mm = points_mm.reshape(len(judged_share), -1) / np.maximum(judged_share, 1e-6)

    def fit_and_score(features: np.ndarray, targets: np.ndarray, judged_features: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features, targets)
        off_mm = (model.predict(judged_features) - judged_share) * side_mm
        distance = np.linalg.norm(off_mm.reshape(-1, len(WallPoint), 2), axis=2).mean(axis=1)
        return mean_by_patient(distance, judged_patient)

    return Probe(features, targets, patient, judged_features, fit_and_score)


def ejection_fraction_probe(known: Encoded, truth: ClipStore, judged: Encoded, judged_truth: ClipStore) -> Probe:
    """The ejection fraction of every clip from the mean and the spread of its frames."""
    features, judged_features = (
        np.concatenate([each.frame_tokens.mean(axis=1), each.frame_tokens.std(axis=1)], axis=1)
        for each in (known, judged)
    )
    judged_ef, judged_patient = judged_truth.truth["ef_percent"], patients_of(judged_truth)

    def fit_and_score(features: np.ndarray, targets: np.ndarray, judged_features: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features, targets)
        return mean_by_patient(np.abs(model.predict(judged_features) - judged_ef), judged_patient)

    return Probe(features, truth.truth["ef_percent"], patients_of(truth), judged_features, fit_and_score)


def patients_of(store: ClipStore) -> np.ndarray:
    """Which clips are labelled together: one patient's, or one round through the views of a simulated store."""
    patient = store.truth["patient"]
    views = len(np.unique(store.truth["view"]))
    return patient if len(np.unique(patient)) < len(patient) else np.arange(len(patient)) // views


def choose_patients(patients: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the patients, at least two; larger shares of the same seed hold the smaller ones."""
    order = np.random.default_rng(seed).permutation(np.unique(patients))
    return order[: max(2, round(share * len(order)))]


def measure(probe: Probe, seeds: int) -> list[dict[str, float]]:
    """Mean score and interval at every share of the labelled patients."""
    rows = []
    for share in SHARES:
        draws = range(seeds) if share < 1 else range(1)
        scores = []
        for seed in draws:
            chosen = np.isin(probe.patient, choose_patients(probe.patient, share, seed))
            scores.append(probe.fit_and_score(probe.features[chosen], probe.targets[chosen], probe.judged_features))
        low, high = bootstrap(np.stack(scores))
        labelled = len(choose_patients(probe.patient, share, 0))
        rows.append({"share": share, "patients": labelled, "score": float(np.mean(scores)), "low": low, "high": high})
    return rows


def bootstrap(scores: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean score of ``(draws, judged patients)``, both drawn anew with replacement."""
    rng = np.random.default_rng(0)
    draws, patients = scores.shape
    means = [
        scores[rng.integers(draws, size=draws)][:, rng.integers(patients, size=patients)].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def open_encoder(text: str) -> tuple[str, VisionTransformer]:
    """``random``, ``random-small`` or ``NAME=BUNDLE``.

    Raises:
        BundleError: the bundle is missing or damaged, or the text is neither.
    """
    name, _, directory = text.partition("=")
    if directory:
        return name, build_encoder_from(load_bundle(Path(directory))).eval()
    if name not in ("random", "random-small"):
        raise BundleError(f"--encoder {text}: give random, random-small or NAME=DIRECTORY")
    torch.manual_seed(0)
    size: Literal["tiny", "small"] = "small" if name == "random-small" else "tiny"
    config = EncoderConfig(size=size, patch_size=16, in_channels=1, registers=4, image_size=112, layer_scale=1.0)
    return name, VisionTransformer(config).eval()


def draw_stores(work: Path, patients: int, judged: int, size: int, workers: int) -> dict[str, ClipStore]:
    """The simulated patients, labelled and judged."""
    workspace = Workspace(work, workers, _tell)

    def frames(first_seed: int, count: int) -> PhantomStoreConfig:
        return PhantomStoreConfig(first_seed=first_seed, patients=count, frames=2, labelled=2, size=size)

    def beats(first_seed: int, count: int) -> PhantomStoreConfig:
        return PhantomStoreConfig(
            first_seed=first_seed, patients=count, views=(View.A4C,), frames=8, labelled=1, size=size
        )

    configs = {
        "frames": frames(_FRAMES_SEEDS, patients),
        "beats": beats(_EF_SEEDS, patients),
        "judged_frames": frames(_JUDGED_FRAMES_SEEDS, judged),
        "judged_beats": beats(_JUDGED_EF_SEEDS, judged),
    }
    return {name: open_phantom_store(f"probe-{name}", config, workspace) for name, config in configs.items()}


def camus_stores(root: Path, work: Path, size: int) -> tuple[ClipStore, ClipStore]:
    """CAMUS, training and ``val``."""
    stores = []
    for split in ("train", "val"):
        directory = work / "stores" / f"probe-camus-{split}-{size}"
        write_camus_store(root, split, slice(None), size, directory)
        stores.append(ClipStore(directory))
    return stores[0], stores[1]


@dataclass(frozen=True, eq=False)
class Real:
    """What real images there are: CAMUS, training and ``val``, and frames of clips with their views."""

    camus: tuple[ClipStore, ClipStore] | None
    clips: Sequence[tuple[np.ndarray, View]]


def open_real_clips(folder: Path, size: int) -> list[tuple[np.ndarray, View]]:
    """Some frames of every clip in a folder, as models see them, and its view.

    Raises:
        RealClipsError: no folder bears the name of a view.
    """
    return [
        (prepare_frames(open_only_clip(path), size, max_frames=_REAL_FRAMES).pixels, view)
        for path, view in find_real_clips(folder)
    ]


def study(
    encoder: VisionTransformer, stores: dict[str, ClipStore], real: Real, size: int, seeds: int
) -> dict[str, list[dict[str, float]]]:
    """All tasks of one encoder."""
    encoded = {name: encode(encoder, store, np.arange(len(store)), size) for name, store in stores.items()}
    known, judged = encoded["frames"], encoded["judged_frames"]
    truth, judged_truth = stores["frames"], stores["judged_frames"]
    apical, judged_apical = (
        np.flatnonzero(np.isin(store.truth["view"], [list(View).index(view) for view in _APICAL]))
        for store in (truth, judged_truth)
    )
    probes = {
        "views": views_probe(known, truth, judged, judged_truth),
        "segmentation": segmentation_probe(known, truth, apical, judged, judged_truth, judged_apical),
        "lv_wall": wall_probe(known, truth, judged, judged_truth),
        "ejection_fraction": ejection_fraction_probe(
            encoded["beats"], stores["beats"], encoded["judged_beats"], stores["judged_beats"]
        ),
    }
    if real.camus is not None:
        (train, val), every = real.camus, [np.arange(len(store)) for store in real.camus]
        probes["camus"] = segmentation_probe(
            encode(encoder, train, every[0], size), train, every[0], encode(encoder, val, every[1], size), val, every[1]
        )
    if real.clips:
        tokens = [(encode_frames(encoder, pixels).frame_tokens, view) for pixels, view in real.clips]
        probes["real_views"] = real_views_probe(known, truth, tokens)
    return {name: measure(probe, seeds) for name, probe in probes.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", action="append", required=True, help="random, random-small or NAME=BUNDLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--camus", type=Path, default=None, help="the folder of CAMUS")
    parser.add_argument("--real", type=Path, default=None, help="a folder of real clips named after their views")
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--judged", type=int, default=60)
    parser.add_argument("--size", type=int, default=112, help="side of the images in pixels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(arguments)
    for option, count, most in zip(
        ("patients", "judged"), (chosen.patients, chosen.judged), _MOST_PATIENTS, strict=True
    ):
        if not 2 <= count <= most:
            parser.error(f"--{option} {count}: give 2 to {most}; beyond it the seeds of others begin")
    try:
        encoders = dict(open_encoder(text) for text in chosen.encoder)
        camus = camus_stores(chosen.camus, chosen.out, chosen.size) if chosen.camus is not None else None
        real = Real(camus, open_real_clips(chosen.real, chosen.size) if chosen.real is not None else ())
    except (BundleError, DatasetError, RealClipsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    stores = draw_stores(chosen.out, chosen.patients, chosen.judged, chosen.size, chosen.workers)
    results: Results = {}
    for name, encoder in encoders.items():
        sys.stderr.write(f"{name}\n")
        results[name] = study(encoder, stores, real, chosen.size, chosen.seeds)
        (chosen.out / "label_efficiency.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = write_table(results)
    (chosen.out / "label_efficiency.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)
    try:
        draw_picture(results, chosen.out / "label_efficiency.png")
    except ModuleNotFoundError:
        sys.stderr.write("matplotlib is not installed; no picture\n")
    return 0


def _tell(text: str, done: int, total: int) -> None:
    sys.stderr.write(f"{text}: {done} of {total}\n")


def _rows(tokens: np.ndarray) -> np.ndarray:
    return tokens.reshape(-1, tokens.shape[-1])


def _labelled_patches(encoded: Encoded, store: ClipStore, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, targets = [], []
    for clip in clips:
        frames, labels = store.truth["label_frames"][clip], store.labels(int(clip))
        for frame, label in zip(frames[frames >= 0], labels, strict=False):
            features.append(encoded.patches[clip, frame].astype(np.float32))
            targets.append(covered_parts(label, encoded.grid, Structure.LV_CAVITY))
    return np.concatenate(features), np.concatenate(targets)


if __name__ == "__main__":
    raise SystemExit(main())
