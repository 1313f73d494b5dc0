"""Self-training: a set of weights outlines clips that nobody outlined, and keeps what it is sure of.

    python benchmarks/self_labels.py --folder FOLDER --bundle NAME --out OUT [--views A4C] [--structures lv_cavity]

FOLDER holds ``clips.csv`` with views. OUT is the same folder with the columns ``outlines`` and ``outlined`` filled for
the clips whose frames agree; clips that were outlined already stay as they are. Every frame is outlined several times,
moved, turned and scaled a little; a frame is kept when, for every structure that was asked for,

* the versions agree: the mean Dice of each with their mean is at least ``--agreement``;
* it is one piece, and covers a share of the sector that hearts have;
* the LV cavity is higher on the screen than the left atrium (apical views);

and a clip is kept when at least half of its frames are. Source of the test-time consistency: Zheng and Yang,
"Rectifying pseudo label learning via uncertainty estimation", 2021 (here with Dice in place of their divergence).
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from echoapex.data.augment import AugmentConfig, Warp, random_warp
from echoapex.data.datasets.folder import LIST_FILE, ClipFolder
from echoapex.data.datasets.records import DatasetClip
from echoapex.data.preprocess import PreparedClip, prepare_frames, probabilities_to_native
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.outlines import drop_small_components
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import Structure, View

_MOVES = AugmentConfig(scale=0.12, shift=0.04, rotation_degrees=8, aspect=0.05)
_SHARES = (0.004, 0.45)
"""Least and largest share of the sector that one structure covers."""


@dataclass(frozen=True)
class Teacher:
    """The set that outlines, how often it looks at a frame, and how well its looks must agree."""

    interpreter: TaskInterpreter
    looks: int = 5
    agreement: float = 0.9

    def outline(self, clip: PreparedClip, structures: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
        """Mean probabilities (frames, structures, size, size) and the agreement (frames, structures) of the looks."""
        rng, size = np.random.default_rng(0), clip.size
        looks = [self._look(clip, structures, random_warp(rng, size, size, _MOVES)) for _ in range(self.looks)]
        mean = np.mean(looks, axis=0)
        agreement = np.mean([_dice(look > 0.5, mean > 0.5) for look in looks], axis=0)
        return mean, agreement

    def _look(self, clip: PreparedClip, structures: Sequence[Structure], warp: Warp) -> np.ndarray:
        moved = np.stack([warp.image(np.ascontiguousarray(frame)) for frame in clip.pixels])
        encoded = self.interpreter.encode(moved, clip.frame_times_s)
        found = np.zeros((len(moved), len(structures), clip.size, clip.size), np.float32)
        for row, probabilities, _ in self.interpreter.segment(encoded, range(len(moved)), structures):
            for number, probability in enumerate(probabilities):
                found[row, number] = cv2.warpAffine(
                    probability, warp.matrix, (clip.size, clip.size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                )
        return found


def is_plausible(masks: np.ndarray, sector: np.ndarray, structures: Sequence[Structure], view: View) -> bool:
    """Whether the masks (structures, size, size) of one frame look like chambers: one piece, of a size, in order."""
    shares = masks.sum(axis=(1, 2)) / max(1, sector.sum())
    if ((shares < _SHARES[0]) | (shares > _SHARES[1])).any():
        return False
    whole = [cv2.connectedComponents(mask.astype(np.uint8))[0] == 2 for mask in masks]
    if not all(whole):
        return False
    if view in (View.A4C, View.A2C) and {Structure.LV_CAVITY, Structure.LEFT_ATRIUM} <= set(structures):
        cavity, atrium = (masks[list(structures).index(s)] for s in (Structure.LV_CAVITY, Structure.LEFT_ATRIUM))
        return bool(np.nonzero(cavity)[0].mean() < np.nonzero(atrium)[0].mean())
    return True


def label_clip(record: DatasetClip, teacher: Teacher, structures: Sequence[Structure]) -> dict[int, np.ndarray]:
    """Native label maps of the frames that are kept; none when fewer than half of the clip's frames are."""
    assert record.view is not None
    clip = prepare_frames(open_only_clip(record.path), teacher.interpreter.input_size, max_frames=16)
    probabilities, agreement = teacher.outline(clip, structures)
    maps: dict[int, np.ndarray] = {}
    for row, frame in enumerate(clip.frame_indices):
        cleaned = drop_small_components(probabilities[row])
        good = (agreement[row] >= teacher.agreement).all()
        if good and is_plausible(cleaned > 0.5, clip.pixels[row] > 0, structures, record.view):
            maps[frame] = probabilities_to_native(cleaned, clip.transform, [int(one) for one in structures])
    return maps if 2 * len(maps) >= len(clip.frame_indices) else {}


def _dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = (a & b).sum(axis=(-2, -1))
    return np.asarray(2 * both / np.maximum(1, a.sum(axis=(-2, -1)) + b.sum(axis=(-2, -1))))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--views", default="A4C,A2C")
    parser.add_argument("--structures", default="lv_cavity,lv_myocardium,left_atrium")
    parser.add_argument("--agreement", type=float, default=0.9)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    views = {View(name) for name in chosen.views.split(",")}
    structures = [Structure.from_key(name) for name in chosen.structures.split(",")]
    shutil.copytree(chosen.folder, chosen.out, dirs_exist_ok=True)
    teacher = Teacher(TaskInterpreter.load(chosen.bundle), agreement=chosen.agreement)
    with (chosen.folder / LIST_FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, ClipFolder(chosen.folder).records(), strict=True):
        if record.view not in views or record.outlined:
            continue
        maps = label_clip(record, teacher, structures)
        sys.stdout.write(f"{record.name}: {len(maps)} frames kept\n")
        if maps:
            place = chosen.out / f"{Path(record.name).stem}-outlines"
            place.mkdir(exist_ok=True)
            for frame, labels in maps.items():
                cv2.imwrite(str(place / f"{frame}.png"), labels)
            row |= {"outlines": place.name, "outlined": " ".join(structure.key for structure in structures)}
    with (chosen.out / LIST_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*dict.fromkeys([*rows[0], "outlines", "outlined"])], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
