"""Development clips as folders of one's own clips: what is sure is named, what is wrong does not teach."""

import json
from pathlib import Path

import cv2
import numpy as np
from real_development_folders import main

from echoapex.data.datasets.folder import ClipFolder
from echoapex.vocabulary import Structure, View


def _image(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((32, 32), value, np.uint8))


def test_sources_become_folders(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for number in range(3):
        _image(data / "ailabs_clips" / "PSAX-AV" / f"{number:03d}.jpg")
        _image(data / "mit_echo_clips" / "IM_1" / f"image_{number}.jpg")
        _image(data / "mit_echo_clips" / "IM_2" / f"image_{number}.jpg")
    views = {"IM_1": {"view": "A4C", "sure": True, "study": 3}, "IM_2": {"view": "A2C", "sure": False, "study": 3}}
    (data / "mit_echo_clips" / "views.json").write_text(json.dumps(views))
    for name in ("A4CEX01", "A4CEX07"):
        _image(data / "ucsf_examples" / "A4C" / f"{name}.png")
        _image(data / "ucsf_examples" / "A4C_labels" / f"{name}.png", int(Structure.RIGHT_ATRIUM))
    assert main(["--data", str(data), "--out", str(out)]) == 0
    psax, *loops = ClipFolder(out / "permissive").records()
    assert (psax.view, psax.patient) == (View.PSAX_AV, "ailabs")
    assert [loop.view for loop in loops] == [View.A4C, View.PLAX], "both loops of pip packages are there"
    assert [record.view for record in ClipFolder(out / "mit").records()] == [View.A4C], "an unsure view is left out"
    right, wrong = ClipFolder(out / "ucsf").records()
    assert (right.split, wrong.split) == ("train", "test")
    assert (right.read_labels()[0] == Structure.RIGHT_ATRIUM).all()
    assert Structure.RIGHT_VENTRICLE in right.outlined and Structure.AORTIC_ROOT not in right.outlined
    assert not (out / "litfl").exists()
