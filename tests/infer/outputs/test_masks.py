from __future__ import annotations

from pathlib import Path

import numpy as np

from echoapex.domain import Spacing
from echoapex.infer.clip.outlines import LabelMaps
from echoapex.infer.outputs.files import write_masks


def some_labels() -> LabelMaps:
    maps = LabelMaps((20, 30))
    for frame in (4, 1):
        maps[frame] = np.full((20, 30), frame, np.uint8)
    return maps


def test_masks_are_read_by_numpy(tmp_path: Path) -> None:
    path = write_masks(tmp_path, "clip", some_labels(), Spacing(0.4, 0.3))
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["frames"].tolist() == [1, 4]
        assert arrays["labels"].shape == (2, 20, 30)
        assert arrays["labels"].dtype == np.uint8
        assert (arrays["labels"][1] == 4).all()
        assert arrays["structures"].tolist()[:2] == ["lv_cavity", "lv_myocardium"]
        assert arrays["spacing_mm"].tolist() == [0.4, 0.3]


def test_unknown_spacing_is_no_number(tmp_path: Path) -> None:
    with np.load(write_masks(tmp_path, "clip", some_labels(), None)) as arrays:
        assert np.isnan(arrays["spacing_mm"]).all()


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    first = write_masks(tmp_path / "a", "clip", some_labels(), None).read_bytes()
    assert first == write_masks(tmp_path / "b", "clip", some_labels(), None).read_bytes()
