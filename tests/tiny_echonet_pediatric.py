"""A tiny EchoNet-Pediatric of simulated hearts, in the official layout: two children in both views, one in A4C only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from avi_files import write_avi
from dataset_findings import write_table

from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import Structure, View

SIDE, FRAMES = 112, 8
VIEWS = {"A4C": View.A4C, "PSAX": View.PSAX_PM}
FOLDS = {0: "0", 1: "7", 2: "9"}
ONLY_A4C = 2


def write_tiny_echonet_pediatric(root: Path) -> dict[str, PhantomClip]:
    """Five videos; returns the simulated clip behind each ``A4C/....avi``."""
    clips: dict[str, PhantomClip] = {}
    for number, (folder, view) in enumerate(VIEWS.items()):
        files, corners = [], []
        for seed, fold in FOLDS.items():
            if folder == "PSAX" and seed == ONLY_A4C:
                continue
            clip = simulate_clip(view, seed, size=SIDE, frames=FRAMES, label_frames="ed_es")
            name = f"CR32a{seed:04d}-CR32b{seed:04d}-{number:06d}.avi"
            clips[f"{folder}/{name}"] = clip
            files.append(
                {
                    "FileName": name,
                    "EF": f"{clip.ejection_fraction_percent:.6f}",
                    "Sex": "F",
                    "Age": str(3 + seed),
                    "Weight": "20.5",
                    "Height": "110",
                    "Split": fold,
                }
            )
            for frame in (clip.es_frame, clip.ed_frame):
                corners += outline_rows(name, frame, clip.labels[frame] == int(Structure.LV_CAVITY))
            write_avi(root / folder / "Videos" / name, clip.frames)
        columns = ["FileName", "EF", "Sex", "Age", "Weight", "Height", "Split"]
        write_table(root / folder / "FileList.csv", columns, files)
        write_table(root / folder / "VolumeTracings.csv", ["FileName", "X", "Y", "Frame"], corners)
    return clips


def outline_rows(name: str, frame: int, mask: np.ndarray) -> list[dict[str, str]]:
    """The corners of the outline, in order."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = max(contours, key=cv2.contourArea)[:, 0].astype(float)
    return [{"FileName": name, "X": f"{x:.3f}", "Y": f"{y:.3f}", "Frame": str(frame)} for x, y in corners]
