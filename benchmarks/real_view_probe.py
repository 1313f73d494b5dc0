"""Views of real clips by a straight line on frozen features, one source left out at a time: what an encoder knows.

    python benchmarks/real_view_probe.py --folders FOLDERS --encoder NAME=BUNDLE [--encoder ...] [--size 168]

FOLDERS holds one folder with ``clips.csv`` per source (``real_development_folders.py``). Of every clip eight frames are
encoded; class token and mean patch token are averaged over them. A logistic regression (L2, features standardised)
learns the coarse view from all sources but one and names the clips of that one; classes that only the source left out
shows cannot be named and count as wrong. Printed is the balanced accuracy per source left out and over all clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from real_world import balanced_accuracy, coarse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from echoapex.data.datasets.folder import ClipFolder
from echoapex.data.preprocess import prepare_frames
from echoapex.io.study_files import open_only_clip
from echoapex.models.bundle import build_encoder_from, load_bundle
from echoapex.models.decoders.linear import pool_frame
from echoapex.models.encoder import VisionTransformer, standardise

FRAMES = 8


def read_clips(folders: Path, size: int) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Prepared frames, coarse view and source of every clip whose view is known."""
    pixels, views, sources = [], [], []
    for root in sorted(path.parent for path in folders.glob("*/clips.csv")):
        for record in ClipFolder(root).records():
            if record.view is not None:
                pixels.append(prepare_frames(open_only_clip(record.path), size, max_frames=FRAMES).pixels)
                views.append(coarse(record.view))
                sources.append(root.name)
    return pixels, views, sources


@torch.inference_mode()
def encode(encoder: VisionTransformer, clips: Sequence[np.ndarray]) -> np.ndarray:
    """One vector per clip: class token and mean patch token, averaged over the frames."""
    pooled = [pool_frame(encoder(standardise(torch.from_numpy(frames)))).mean(dim=0) for frames in clips]
    return torch.stack(pooled).numpy()


def probe(features: np.ndarray, views: Sequence[str], sources: Sequence[str]) -> dict[str, float]:
    """Balanced accuracy of each source left out, and of all clips together."""
    truth, origin = np.array(views), np.array(sources)
    called = np.empty_like(truth)
    for source in sorted(set(sources)):
        out = origin == source
        line = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        line.fit(features[~out], truth[~out])
        called[out] = line.predict(features[out])
    right = list(zip(truth.tolist(), (called == truth).tolist(), strict=True))
    scores = {
        source: balanced_accuracy([case for case, own in zip(right, origin == source, strict=True) if own]) or 0.0
        for source in sorted(set(sources))
    }
    return scores | {"all": balanced_accuracy(right) or 0.0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=Path, required=True)
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=BUNDLE")
    parser.add_argument("--size", type=int, default=168)
    chosen = parser.parse_args(arguments)
    clips, views, sources = read_clips(chosen.folders, chosen.size)
    if len(set(sources)) < 2:
        sys.stderr.write(f"{chosen.folders}: holds fewer than two sources with named views; one is to be left out\n")
        return 2
    names = [*sorted(set(sources)), "all"]
    sys.stdout.write(f"| encoder | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|\n")
    for given in chosen.encoder:
        name, _, place = given.partition("=")
        encoder = build_encoder_from(load_bundle(Path(place))).eval()
        scores = probe(encode(encoder, clips), views, sources)
        sys.stdout.write(f"| {name} | {' | '.join(f'{scores[source]:.3f}' for source in names)} |\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
