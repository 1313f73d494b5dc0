"""A tiny folder of one's own clips: a DICOM study, a video and a table."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from avi_files import write_avi
from dataset_findings import write_table

from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import View

COLUMNS = [
    "file",
    "patient",
    "view",
    "split",
    "ef_percent",
    "edv_ml",
    "esv_ml",
    "row_mm",
    "column_mm",
    "source",
    "ward",
]
SPLITS = ("train", "val", "test")


def write_tiny_clip_folder(root: Path) -> dict[str, PhantomClip]:
    """Three videos of three patients; returns the simulated clip behind each file."""
    clips: dict[str, PhantomClip] = {}
    rows = []
    for seed, split in enumerate(SPLITS):
        clip = simulate_clip(View.A4C, seed, size=96, frames=4, label_frames=range(4))
        name = f"ward {seed}/clip{seed}.avi"
        clips[name] = clip
        write_avi(root / name, clip.frames)
        rows.append(
            {
                "file": name,
                "patient": f"P{seed}",
                "view": "A4C",
                "split": split,
                "ef_percent": f"{clip.ejection_fraction_percent:.4f}",
                "edv_ml": f"{clip.edv_ml:.4f}",
                "esv_ml": f"{clip.esv_ml:.4f}",
                "row_mm": f"{clip.spacing.row_mm:.6f}",
                "column_mm": f"{clip.spacing.column_mm:.6f}",
                "source": "simulated volumes",
                "ward": str(seed),
            }
        )
    write_table(root / "clips.csv", COLUMNS, rows)
    return clips


def outline_tiny_clip_folder(root: Path, clips: dict[str, PhantomClip], frames: tuple[int, ...] = (0, 2)) -> None:
    """Add label maps of some frames of every clip; the LV cavity and the left atrium were looked for."""
    with (root / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        place = root / "outlines" / Path(row["file"]).stem
        place.mkdir(parents=True)
        for frame in frames:
            labels = np.asarray(clips[row["file"]].labels[frame], np.uint8)
            cv2.imwrite(str(place / f"{frame}.png"), labels)
        row |= {"outlines": str(place.relative_to(root)), "outlined": "lv_cavity left_atrium"}
    write_table(root / "clips.csv", [*COLUMNS, "outlines", "outlined"], rows)
