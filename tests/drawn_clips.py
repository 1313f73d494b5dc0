"""A store of small drawn clips with exact truth: an LV that beats beside a left atrium, in two views.

Drawn in milliseconds, where the phantom takes seconds; good enough for whatever only needs clips that hold together.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from echoapex.data.stores.clip_store import ClipStore, write_shard
from echoapex.vocabulary import Structure, View

DRAWN_VIEWS = (View.A4C, View.PLAX)
DRAWN_STRUCTURES = (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM)
LABEL_FRAMES = (0, 2)
WALL_FRAME = 0
FRAME_INTERVAL_S = 0.05


def draw_store(directory: Path, clips: int = 6, frames: int = 4, size: int = 64, first: int = 0) -> ClipStore:
    """Clips of alternating views in shards of three; only the parasternal ones have wall points."""
    for start in range(0, clips, 3):
        write_drawn_shard(directory / f"shard-{start // 3:05d}", range(first + start, first + start + 3), frames, size)
    return ClipStore(directory)


def write_drawn_shard(path: Path, patients: range, frames: int = 4, size: int = 64) -> None:
    """One shard, one clip per patient."""
    drawn = [draw_clip(patient, frames, size) for patient in patients]
    names = drawn[0][2]
    write_shard(
        path,
        np.stack([pixels for pixels, _, _ in drawn]),
        np.stack([labels for _, labels, _ in drawn]),
        {name: np.stack([np.asarray(truth[name]) for _, _, truth in drawn]) for name in names},
    )


def draw_clip(patient: int, frames: int, size: int) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """Pixels, label maps of ``LABEL_FRAMES``, and the truth of a patient's clip."""
    view = DRAWN_VIEWS[patient % 2]
    rng = np.random.default_rng(patient)
    shortening = float(rng.uniform(0.1, 0.4))
    radii = size * (0.2 - 0.2 * shortening * np.sin(np.linspace(0, np.pi, frames)) ** 2)
    maps = np.stack([draw_labels(size, radius, view) for radius in radii])
    grey = np.choose(maps, [60, 15, 180, 30, 0, 0, 0])
    grey = np.clip(grey * rng.uniform(0.6, 1.4, maps.shape), 1, 255).astype(np.uint8)
    volumes = (radii / radii[0]) ** 3
    labelled = [frame for frame in LABEL_FRAMES if frame < frames]
    has_walls = view is View.PLAX
    return (
        grey,
        maps[labelled],
        {
            "view": list(View).index(view),
            "patient": patient,
            "times_s": np.arange(frames) * FRAME_INTERVAL_S + 1.0,
            "relative_volume": volumes,
            "ef_percent": 100 * (1 - volumes.min()),
            "label_frames": labelled,
            "known_structures": sum(1 << structure for structure in DRAWN_STRUCTURES),
            "wall_frame": WALL_FRAME if has_walls else -1,
            "wall_points": wall_points(size, float(radii[WALL_FRAME])) if has_walls else np.full((4, 2), np.nan),
            "mm_per_px": 1.2,
        },
    )


def lv_centre(size: int) -> tuple[int, int]:
    """Where the centre of the LV is, (x, y)."""
    return round(0.45 * size), round(0.4 * size)


def draw_labels(size: int, radius: float, view: View) -> np.ndarray:
    """A round cavity in its wall, and the atrium below (apical) or to the right of it (parasternal)."""
    labels = np.zeros((size, size), np.uint8)
    x, y = lv_centre(size)
    atrium = (x, y + round(0.38 * size)) if view is View.A4C else (x + round(0.36 * size), y)
    cv2.circle(labels, atrium, round(0.1 * size), int(Structure.LEFT_ATRIUM), cv2.FILLED)
    cv2.circle(labels, (x, y), round(radius + 0.07 * size), int(Structure.LV_MYOCARDIUM), cv2.FILLED)
    cv2.circle(labels, (x, y), round(radius), int(Structure.LV_CAVITY), cv2.FILLED)
    return labels


def wall_points(size: int, radius: float) -> np.ndarray:
    """The four wall end points from top to bottom through the centre of the LV, in store pixels."""
    x, y = lv_centre(size)
    offsets = (-radius - 0.07 * size, -radius, radius, radius + 0.07 * size)
    return np.array([[x, y + offset] for offset in offsets])
