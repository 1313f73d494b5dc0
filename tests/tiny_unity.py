"""A tiny Unity set of simulated hearts, in the official layout: wall points in PLAX, the endocardium in A4C."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from echoapex.domain import WallPoint
from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import Structure, View

SIDE = 192
IMAGES = {"train": (View.PLAX, View.A4C), "tune": (View.PLAX,), "ival": (View.A4C,)}
POINTS = {
    WallPoint.SEPTUM_RV_SIDE: "lv-ivs-top",
    WallPoint.SEPTUM_LV_SIDE: "lv-ivs-bottom",
    WallPoint.POSTERIOR_WALL_LV_SIDE: "lv-pw-top",
    WallPoint.POSTERIOR_WALL_EPICARDIUM: "lv-pw-bottom",
}


def write_tiny_unity(root: Path) -> dict[str, PhantomClip]:
    """Four images; returns the simulated clip (of one frame) behind each code."""
    clips: dict[str, PhantomClip] = {}
    (root / "labels").mkdir(parents=True)
    for split, views in IMAGES.items():
        entries = {}
        for view in views:
            digits = hashlib.sha256(f"{split} {view}".encode()).hexdigest()
            code = f"01-{digits}-0007"
            clip = simulate_clip(view, len(clips), size=SIDE, frames=1, label_frames="all")
            clips[code] = clip
            folder = root / "png-cache" / "01" / digits[:2] / digits[2:4]
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / f"{code}.png"), clip.frames[0])
            entries[code] = {"labels": plax_labels(clip) if view is View.PLAX else apical_labels(clip)}
        (root / "labels" / f"labels-{split}.json").write_text(json.dumps(entries))
    return clips


def plax_labels(clip: PhantomClip) -> dict[str, dict[str, str]]:
    assert clip.walls is not None
    points = {
        POINTS[place]: {"type": "point", "x": f"{x:.1f}", "y": f"{y:.1f}"}
        for place, (x, y) in clip.walls.points_xy.items()
    }
    return {**points, "curve-lv-endo": {"type": "blurred", "x": "", "y": ""}}


def apical_labels(clip: PhantomClip) -> dict[str, dict[str, str]]:
    """The endocardium from one hinge over the apex to the other: up the left side, down the right."""
    rows, columns = np.nonzero(clip.labels[0] == int(Structure.LV_CAVITY))
    levels = np.unique(rows)[::-1]
    left = [(columns[rows == row].min() - 0.5, row) for row in levels]
    right = [(columns[rows == row].max() + 0.5, row) for row in levels[::-1]]
    curve = np.array(left + right, dtype=float)
    x, y = (" ".join(f"{value:.1f}" for value in axis) for axis in curve.T)
    return {"curve-lv-endo": {"type": "curve", "x": x, "y": y}, "lv-ivs-top": {"type": "off", "x": "", "y": ""}}
