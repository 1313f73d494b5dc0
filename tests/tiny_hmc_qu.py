"""A tiny HMC-QU of simulated hearts, in the official layout with its sheets saved as CSV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import scipy.io
from avi_files import write_avi

from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import Structure, View

SIDE, FRAMES = 160, 8
FIRST, LAST = 2, 6
"""The outlined cycle, counted from 1 as the sheet does."""
MASK_COLUMN = "LV Wall Ground-truth Segmentation Masks"
SEGMENTS = {"A4C": ("SEG1", "SEG2", "SEG3", "SEG5", "SEG6", "SEG7"), "A2C": ("SEG4", "SEG8")}


def write_tiny_hmc_qu(root: Path) -> dict[str, PhantomClip]:
    """Two videos in A4C (one with masks), one in A2C; returns the simulated clip behind each ``A4C/....avi``."""
    clips: dict[str, PhantomClip] = {}
    a4c = [",".join(("ECHO", *SEGMENTS["A4C"], "One cardiac-cycle frames", "", MASK_COLUMN))]
    for seed, mark in ((1, "ü"), (2, "")):
        echo = f"ES{seed:04d} _4CH_1"
        clips[f"A4C/{echo}.avi"] = clip = simulate_clip(View.A4C, seed, size=SIDE, frames=FRAMES, label_frames="all")
        write_avi(root / "HMC-QU" / "A4C" / f"{echo}.avi", clip.frames)
        a4c.append(",".join((echo, *["non-MI"] * 5, "MI", str(FIRST), str(LAST), mark)))
        if mark:
            write_masks(root, echo, clip)
    clips["A2C/ES0001_CH2_1.avi"] = clip = simulate_clip(View.A2C, 1, size=SIDE, frames=FRAMES)
    write_avi(root / "HMC-QU" / "A2C" / "ES0001_CH2_1.avi", clip.frames)
    (root / "A4C.csv").write_text("\n".join(a4c) + "\n", encoding="utf-8")
    (root / "A2C.csv").write_text("ECHO,SEG4,SEG8\nES0001_CH2_1,MI,non-MI\n", encoding="utf-8")
    return clips


def write_masks(root: Path, echo: str, clip: PhantomClip, frames: range = range(FIRST - 1, LAST)) -> None:
    """The LV wall over the cycle, at 224 x 224."""
    walls = [(clip.labels[frame] == int(Structure.LV_MYOCARDIUM)).astype(np.uint8) for frame in frames]
    masks = np.stack([cv2.resize(wall, (224, 224), interpolation=cv2.INTER_NEAREST_EXACT) for wall in walls])
    folder = root / "LV Ground-truth Segmentation Masks"
    folder.mkdir(exist_ok=True)
    scipy.io.savemat(folder / f"Mask_{echo}.mat", {"predicted": masks})
