"""``masks/<clip_id>.npz``: the label maps of a clip in native pixels, written one frame at a time.

Arrays: ``frames`` (n,) int32; ``labels`` (n, height, width) uint8, values of ``Structure``, 0 is background;
``structures`` the names in order of their values from 1; ``spacing_mm`` (row, column), NaN where unknown.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from echoapex.domain import Spacing
from echoapex.infer.label_maps import LabelMaps
from echoapex.io.atomic_file import replace_when_complete
from echoapex.vocabulary import Structure

FOLDER = "masks"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # equal masks give equal bytes


def write_masks(out: Path, clip_id: str, labels: LabelMaps, spacing: Spacing | None) -> Path:
    """Write the label maps of a clip, frames ascending."""
    path = out / FOLDER / f"{clip_id}.npz"
    calibration = (spacing.row_mm, spacing.column_mm) if spacing else (np.nan, np.nan)
    with replace_when_complete(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        _write_array(archive, "frames", np.array(labels.frames, np.int32))
        _write_array(archive, "structures", np.array([structure.key for structure in Structure]))
        _write_array(archive, "spacing_mm", np.array(calibration))
        with _member(archive, "labels") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *labels.size)}
            np.lib.format.write_array_header_1_0(stream, header)
            for frame in labels:
                stream.write(labels[frame].tobytes())
    return path


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with _member(archive, name) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    member = zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(member, "w", force_zip64=True)
