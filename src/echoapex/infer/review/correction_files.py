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
    kept: LabelMaps | None = None
    for frame in sorted(correction.outlined):
        size = (label_maps[frame].shape[0], label_maps[frame].shape[1])
        kept = kept or LabelMaps(size)
        if size != kept.size:
            raise ReviewError(f"{correction.clip_id}: label maps of {size} and {kept.size}; give native pixels")
        kept[frame] = label_maps[frame]
    if kept is not None:
        write_label_maps(maps, kept, correction.spacing)
    path = folder / f"{correction.clip_id}.json"
    write_bytes_atomically(path, (correction.model_dump_json(indent=1) + "\n").encode())
    if kept is None:
        maps.unlink(missing_ok=True)
    return path


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
