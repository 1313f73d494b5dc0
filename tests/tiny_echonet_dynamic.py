"""A tiny EchoNet-Dynamic of simulated hearts, in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from avi_files import write_avi
from dataset_findings import write_table

from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import Structure, View

SIDE, FRAMES, RATE_HZ = 112, 10, 30.0
SPLITS = ("TRAIN", "TRAIN", "VAL", "TEST")
CHORDS = 20


def write_tiny_echonet_dynamic(root: Path) -> dict[str, PhantomClip]:
    """Four videos; returns the simulated clip behind each ``0X....avi``."""
    clips = {f"0X{seed:016X}.avi": simulate_a4c(seed) for seed in range(len(SPLITS))}
    columns = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
    rows = [
        {
            "FileName": name.removesuffix(".avi"),
            "EF": f"{clip.ejection_fraction_percent:.6f}",
            "ESV": f"{clip.esv_ml:.6f}",
            "EDV": f"{clip.edv_ml:.6f}",
            "FrameHeight": str(SIDE),
            "FrameWidth": str(SIDE),
            "FPS": "30",
            "NumberOfFrames": str(FRAMES),
            "Split": split,
        }
        for (name, clip), split in zip(clips.items(), SPLITS, strict=True)
    ]
    write_table(root / "FileList.csv", columns, rows)
    tracings = [
        row
        for name, clip in clips.items()
        # the official table gives the smaller (ES) frame first
        for frame in (clip.es_frame, clip.ed_frame)
        for row in tracing_rows(name, frame, clip.labels[frame] == int(Structure.LV_CAVITY))
    ]
    write_table(root / "VolumeTracings.csv", ["FileName", "X1", "Y1", "X2", "Y2", "Frame"], tracings)
    for name, clip in clips.items():
        write_avi(root / "Videos" / name, clip.frames, RATE_HZ)
    return clips


def simulate_a4c(seed: int) -> PhantomClip:
    return simulate_clip(View.A4C, seed, size=SIDE, frames=FRAMES, label_frames="ed_es")


def tracing_rows(name: str, frame: int, mask: np.ndarray) -> list[dict[str, str]]:
    """The long axis, then chords from the apex (on top) to the base, through the mask's outline."""
    rows, columns = np.nonzero(mask)
    levels = np.linspace(rows.min() - 0.5, rows.max() + 0.5, CHORDS)
    lines = [
        ((columns[rows == edge].mean(), level) for edge, level in ((rows.min(), levels[0]), (rows.max(), levels[-1])))
    ]
    ends = [tuple(end) for end in lines[0]]
    segments = [(*ends[0], *ends[1])]
    for level in levels:
        row = int(np.clip(round(level), rows.min(), rows.max()))
        inside = columns[rows == row]
        segments.append((inside.min() - 0.5, level, inside.max() + 0.5, level))
    return [
        {
            "FileName": name,
            "X1": f"{x1:.4f}",
            "Y1": f"{y1:.4f}",
            "X2": f"{x2:.4f}",
            "Y2": f"{y2:.4f}",
            "Frame": str(frame),
        }
        for x1, y1, x2, y2 in segments
    ]
