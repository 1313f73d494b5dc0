"""Unity on simulated hearts in its official layout: points and curve against the truth, and every finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_findings import checks, inspected
from tiny_unity import SIDE, write_tiny_unity

from echoapex.data.datasets import DatasetError
from echoapex.data.datasets.unity import Unity, inspect_unity
from echoapex.metrics import dice
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Structure, View


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("unity") / "2020-12-05"
    return root, write_tiny_unity(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def edit_labels(root: Path, split: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "labels" / f"labels-{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_points_and_curves_are_those_of_the_simulated_hearts(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = {record.name: record for record in Unity(root).records()}
    assert list(records) == list(clips)
    for code, record in records.items():
        clip = clips[code]
        assert record.path.is_file()
        assert (record.spacing, record.patient) == (None, None)
        assert record.labels == {"clip": code[:67], "frame": "0007"}
        if clip.view is View.PLAX:
            assert clip.walls is not None
            (walls,) = record.walls
            assert (record.view, record.outlines) == (View.PLAX, ())
            for place, point in walls.points_xy.items():
                assert point == pytest.approx(clip.walls.points_xy[place], abs=0.06)
        else:
            (outline,) = record.outlines
            assert (record.view, record.walls) == (None, ())
            true_mask = clip.labels[0] == int(Structure.LV_CAVITY)
            assert dice(true_mask, outline.mask((SIDE, SIDE))) > 0.97


def test_splits_and_their_files(written: tuple[Path, dict[str, PhantomClip]], copy: Path) -> None:
    assert [record.split for record in Unity(written[0]).records()] == ["train", "train", "tune", "ival"]
    assert len(list(Unity(written[0]).records("ival"))) == 1
    (copy / "labels" / "labels-ival.json").unlink()
    with pytest.raises(DatasetError, match=r"labels-ival\.json: is not in"):
        list(Unity(copy).records("ival"))
    assert checks(inspect_unity, copy) == {"missing split"}


def test_label_files_may_lie_in_the_root(copy: Path) -> None:
    for path in (copy / "labels").iterdir():
        path.rename(copy / path.name)
    assert len(list(Unity(copy).records())) == 4


def test_images_may_be_named_without_their_class(copy: Path) -> None:
    for path in sorted((copy / "png-cache").rglob("01-*.png")):
        path.rename(path.with_name(path.name.removeprefix("01-")))
    assert all(record.path.is_file() for record in Unity(copy).records())
    assert inspected(inspect_unity, copy).is_sound


def test_a_sound_copy_has_notes_only(copy: Path) -> None:
    inspection = inspected(inspect_unity, copy)
    assert inspection.is_sound, inspection.findings
    assert inspection.usable == 4
    assert inspection.counted == {"train images": 2, "tune images": 1, "ival images": 1, "clips": 4}


def test_a_clip_in_two_splits_is_found(copy: Path) -> None:
    train = json.loads((copy / "labels" / "labels-train.json").read_text())
    code = next(iter(train))
    edit_labels(copy, "tune", lambda content: content.update({code: train[code]}))
    assert checks(inspect_unity, copy) == {"clip in two splits"}


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ({"type": "line", "x": "1", "y": "2"}, {"label type"}),
        ({"type": "point", "x": "1 2", "y": "2"}, {"label points"}),
        ({"type": "point", "x": "one", "y": "2"}, {"label points"}),
        ({"type": "point"}, {"label points"}),
        ({"type": "blurred", "x": "", "y": ""}, set()),
        ({}, set()),
    ],
)
def test_a_wrong_label_is_found_and_never_used(copy: Path, label: dict[str, str], found: set[str]) -> None:
    edit_labels(copy, "tune", lambda content: next(iter(content.values()))["labels"].update({"lv-pw-top": label}))
    assert checks(inspect_unity, copy) == found
    (record,) = Unity(copy).records("tune")
    assert (record.walls, record.view) == ((), None)


def test_wrong_codes_missing_and_damaged_images_are_found(copy: Path) -> None:
    edit_labels(copy, "train", lambda content: content.update({"heart.png": {"labels": {}}}))
    first, second, *_ = sorted((copy / "png-cache").rglob("*.png"))
    first.unlink()
    second.write_bytes(b"no image")
    assert checks(inspect_unity, copy) == {"image code", "missing file", "unreadable file"}


@pytest.mark.parametrize("content", ["{", "[]", '{"01": 3}', '{"01": {"labels": []}}'])
def test_a_damaged_label_file_is_named(copy: Path, content: str) -> None:
    (copy / "labels" / "labels-train.json").write_text(content)
    with pytest.raises(DatasetError, match=r"labels-train\.json: "):
        list(Unity(copy).records("train"))


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no labels/labels-train\.json"):
        Unity(tmp_path)
