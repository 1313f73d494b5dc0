"""Corrections on disk: ``CLIP.json`` with what was corrected, and beside it ``CLIP.npz`` with the corrected label maps.

The label maps have the format of ``masks/CLIP.npz``. Each file is replaced as a whole. The label maps are written
first: a correction that names an outline always finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.outlines import LabelMaps
from echoapex.infer.outputs.files import write_label_maps
from echoapex.infer.review.corrected_models import LabelMap
from echoapex.infer.review.recomputation import ReviewError
from echoapex.io.temporary_files import write_bytes_atomically


def write_correction(folder: Path, correction: ClipCorrection, label_maps: Mapping[int, LabelMap]) -> Path:
    """Write the correction of a clip and the label maps of the frames that it names; returns the JSON file.

    Args:
        folder: of the study; it is made where it is missing.
        correction: what was corrected.
        label_maps: by native frame; those of other frames are not written.

    Raises:
        ReviewError: an outlined frame has no label map, or their sizes differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maps = folder / f"{correction.clip_id}.npz"
    missing = sorted(set(correction.outlined) - set(label_maps))
    if missing:
        raise ReviewError(f"{correction.clip_id}: frame {missing[0]} was outlined, but has no label map; give it too")
    wanted = {frame: label_maps[frame] for frame in correction.outlined}
    sizes = {(labels.shape[0], labels.shape[1]) for labels in wanted.values()}
    if len(sizes) > 1:
        raise ReviewError(f"{correction.clip_id}: label maps of {sorted(sizes)}; give native pixels")
    for size in sizes:
        kept = LabelMaps(size)
        # what the correction before this one names stays, since that one holds until the JSON file is replaced
        for frame, labels in sorted({**_earlier_maps(folder, correction.clip_id, size), **wanted}.items()):
            kept[frame] = labels
        write_label_maps(maps, kept, correction.spacing)
    path = folder / f"{correction.clip_id}.json"
    write_bytes_atomically(path, (correction.model_dump_json(indent=1) + "\n").encode())
    if not sizes:
        maps.unlink(missing_ok=True)
    return path


def _earlier_maps(folder: Path, clip_id: str, size: tuple[int, int]) -> dict[int, LabelMap]:
    try:
        found = read_correction(folder, clip_id)[1]
    except ReviewError:
        return {}
    return {frame: labels for frame, labels in found.items() if labels.shape == size}


def read_correction(folder: Path, clip_id: str) -> tuple[ClipCorrection, dict[int, LabelMap]]:
    """The correction of a clip and its label maps; an empty one where there is none.

    Raises:
        ReviewError: the files are damaged.
    """
    try:
        correction = ClipCorrection.model_validate_json((folder / f"{clip_id}.json").read_bytes())
    except FileNotFoundError:
        return ClipCorrection(clip_id=clip_id), {}
    except (OSError, ValidationError) as error:
        raise ReviewError(f"{clip_id}: its correction cannot be read; correct the clip anew") from error
    if not correction.outlined:
        return correction, {}
    try:
        with np.load(folder / f"{clip_id}.npz") as stored:
            found = dict(zip(stored["frames"].tolist(), stored["labels"], strict=True))
        return correction, {frame: found[frame] for frame in correction.outlined}
    except (OSError, ValueError, KeyError) as error:
        raise ReviewError(f"{clip_id}: its corrected outlines cannot be read; draw them anew") from error


def corrected_clips(folder: Path) -> tuple[str, ...]:
    """The clips of a study that have a correction."""
    return tuple(sorted(path.stem for path in folder.glob("*.json"))) if folder.is_dir() else ()
