"""A tiny state folder of the page: corrected clips of four patients, three of whom teach."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from avi_files import write_avi

from echoapex.data.datasets.corrections import CORRECTIONS_FOLDER, CorrectedClip, note_corrected_clip, split_of
from echoapex.domain import WallPoint
from echoapex.domain.corrections import ClipCorrection
from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import Structure, View

CLIP = "clip-1"


def pseudonyms(split: str, count: int) -> list[str]:
    """The first pseudonyms of one side."""
    found = [name for name in (f"patient-{number}" for number in range(40 * count)) if split_of(name) == split]
    return found[:count]


def write_label_maps(path: Path, maps: dict[int, np.ndarray]) -> None:
    """Label maps by frame, in the format of ``masks/CLIP.npz``."""
    np.savez(
        path,
        frames=np.array(sorted(maps)),
        labels=np.stack([np.asarray(maps[frame], np.uint8) for frame in sorted(maps)]),
        structures=np.array([structure.key for structure in Structure]),
    )


def write_correction(state: Path, study: str, patient: str, clip: PhantomClip, **changes: object) -> ClipCorrection:
    """A clip with a correction of its view and of two structures on frames 0 and 2."""
    source = state / "inputs" / study / "clip.avi"
    write_avi(source, clip.frames)
    given = {
        "clip_id": CLIP,
        "input_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "view": View.A4C,
        "outlined": {0: ("lv_cavity", "left_atrium"), 2: ("lv_cavity", "left_atrium")},
    }
    correction = ClipCorrection.model_validate({**given, **changes})
    place = state / CORRECTIONS_FOLDER / study
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{CLIP}.json").write_text(correction.model_dump_json())
    write_label_maps(place / f"{CLIP}.npz", {frame: clip.labels[frame] for frame in range(4)})
    note_corrected_clip(
        state, CorrectedClip(study=study, clip=CLIP, patient=patient, source=str(source.relative_to(state)))
    )
    return correction


WALLS = {1: {point: (40.0 + number, 30.0 + 8 * number) for number, point in enumerate(WallPoint)}}
"""Wall points on frame 1."""


def write_tiny_corrections(state: Path, **changes: object) -> dict[str, PhantomClip]:
    """Three patients who teach and one who judges; returns the simulated clip behind each study."""
    clips: dict[str, PhantomClip] = {}
    for seed, patient in enumerate([*pseudonyms("train", 3), *pseudonyms("val", 1)]):
        study = f"{seed:016x}"
        clips[study] = simulate_clip(View.A4C, seed, size=96, frames=4, label_frames=range(4))
        write_correction(state, study, patient, clips[study], **changes)
    return clips
