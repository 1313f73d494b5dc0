"""De-identification in tests: a key, readers of text that find what they are told, and small ultrasound clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from drawn_studies import draw_sector
from synthetic_dicom import region, write_native

from echoapex.io.clip_source import ReadLimits
from echoapex.io.deidentification.instance import Method
from echoapex.io.deidentification.profile import Profile, ProfileOption
from echoapex.io.deidentification.project_key import ProjectKey
from echoapex.io.deidentification.text_search import FoundText

KEY = ProjectKey(bytes(range(32)))
SIZE = (120, 160)


@dataclass
class BrightBoxReader:
    """Finds the box around pixels of one level, as if they were a text."""

    level: int = 254
    seen: list[np.ndarray] = field(default_factory=list)

    def find(self, picture: np.ndarray) -> list[FoundText]:
        self.seen.append(picture)
        grey = picture if picture.ndim == 2 else picture.max(axis=2)
        rows, columns = np.nonzero(grey == self.level)
        if not len(rows):
            return []
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        return [FoundText(box, 0.9)]


def method(*options: ProfileOption, reader: Any = None) -> Method:
    """A method whose reader finds nothing unless another is given."""
    return Method(Profile(frozenset(options)), KEY, reader or BrightBoxReader(), ReadLimits())


def fan_frames(count: int = 3) -> np.ndarray:
    """Grey frames with a fan of speckle below 240, black around."""
    return np.minimum(draw_sector(SIZE, count), 240)


def write_fan(path: Path, frames: np.ndarray | None = None, **elements: Any) -> Path:
    """An uncompressed clip with a fan and one 2D region over the whole picture."""
    frames = fan_frames() if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    regions = [region((0, 0, SIZE[1] - 1, SIZE[0] - 1))]
    photometric = "MONOCHROME2" if frames.ndim == 3 else "RGB"
    return write_native(path, frames, photometric, **{"SequenceOfUltrasoundRegions": regions, **elements})
