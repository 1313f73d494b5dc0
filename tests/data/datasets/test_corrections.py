"""Corrections as a data set: what is taken from them, who judges, and every finding."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dataset_findings import inspected
from tiny_corrections import CLIP, pseudonyms, write_correction, write_label_maps, write_tiny_corrections

from echoapex.data.datasets import DatasetError
from echoapex.data.datasets.corrections import (
    CORRECTIONS_FOLDER,
    INDEX_FILE,
    CorrectedClip,
    CorrectionsDataset,
    forget_corrected_clips,
    inspect_corrections,
    note_corrected_clip,
    read_index,
    split_of,
)
from echoapex.domain import WallPoint
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Structure, View

FIRST = "0" * 16


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    state = tmp_path_factory.mktemp("state")
    return state, write_tiny_corrections(state)


@pytest.fixture
def state(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "state"))


def test_only_what_a_person_outlined_is_taken(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = list(CorrectionsDataset(root).records())
    assert [record.name for record in records] == [f"{study}/{CLIP}" for study in clips]
    for record, clip in zip(records, clips.values(), strict=True):
        assert (record.view, record.outlined) == (View.A4C, (Structure.LV_CAVITY, Structure.LEFT_ATRIUM))
        labels = record.read_labels()
        assert sorted(labels) == [0, 2], "frames 1 and 3 are automatic"
        truth = np.asarray(clip.labels[2])
        assert np.array_equal(labels[2] == Structure.LV_CAVITY, truth == Structure.LV_CAVITY)
        assert Structure.LV_MYOCARDIUM in truth
        assert not (labels[2] == Structure.LV_MYOCARDIUM).any()


def test_frames_with_other_structures_are_a_record_of_their_own(
    state: Path, written: tuple[Path, dict[str, PhantomClip]]
) -> None:
    points = {0: {point: (10.0, 20.0 + number) for number, point in enumerate(WallPoint)}}
    write_correction(
        state, FIRST, pseudonyms("train", 1)[0], written[1][FIRST],
        outlined={1: ("lv_cavity",), 2: ("lv_cavity", "left_atrium"), 3: ("lv_cavity",)}, row_mm=0.4, column_mm=0.5,
        wall_points=points,
    )  # fmt: skip
    first, second = (record for record in CorrectionsDataset(state).records() if record.name.startswith(FIRST))
    assert (first.outlined, sorted(first.read_labels())) == ((Structure.LV_CAVITY,), [1, 3])
    assert (second.outlined, sorted(second.read_labels())) == ((Structure.LV_CAVITY, Structure.LEFT_ATRIUM), [2])
    assert (first.view, second.view) == (View.A4C, None), "a view counts once"
    assert [(walls.frame, walls.points_xy) for walls in first.walls] == [(0, points[0])]
    assert first.spacing is not None
    assert (first.spacing.row_mm, first.spacing.column_mm) == (0.4, 0.5)


def test_a_clip_that_was_set_aside_teaches_nothing(state: Path, written: tuple[Path, dict[str, PhantomClip]]) -> None:
    write_correction(state, FIRST, pseudonyms("train", 1)[0], written[1][FIRST], set_aside=True)
    assert not [record for record in CorrectionsDataset(state).records() if record.name.startswith(FIRST)]


def test_a_patient_never_changes_sides_and_a_quarter_judges() -> None:
    sides = [split_of(f"pseudonym {number}") for number in range(4000)]
    assert 0.22 < sides.count("val") / len(sides) < 0.28
    assert sides == [split_of(f"pseudonym {number}") for number in range(4000)]


def test_all_studies_of_a_patient_are_on_one_side(state: Path, written: tuple[Path, dict[str, PhantomClip]]) -> None:
    judge = pseudonyms("val", 1)[0]
    write_correction(state, "f" * 16, judge, written[1][FIRST])
    of_judge = [record for record in CorrectionsDataset(state).records() if record.patient == judge]
    assert len(of_judge) == 2
    assert {record.split for record in of_judge} == {"val"}


def test_the_index_keeps_what_many_threads_note(tmp_path: Path) -> None:
    clips = [CorrectedClip(study=f"{n:016x}", clip=CLIP, patient=f"p{n}", source="a.dcm") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda clip: note_corrected_clip(tmp_path, clip), [*clips, *clips]))
    assert list(read_index(tmp_path).clips) == clips
    moved = clips[3].model_copy(update={"source": "b.dcm"})
    note_corrected_clip(tmp_path, moved)
    assert read_index(tmp_path).clips[3] == moved
    forget_corrected_clips(tmp_path, clips[3].study)
    forget_corrected_clips(tmp_path, clips[4].study, "another clip")
    assert [clip.study for clip in read_index(tmp_path).clips] == [clip.study for clip in clips if clip != clips[3]]


def test_without_any_correction_it_says_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no correction; give the state folder of echoapex serve"):
        CorrectionsDataset(tmp_path)


def test_a_changed_source_is_refused(state: Path) -> None:
    (state / "inputs" / FIRST / "clip.avi").write_bytes(b"another clip")
    first = next(CorrectionsDataset(state).records())
    with pytest.raises(DatasetError, match="its source has changed since it was corrected"):
        first.read_labels()


def test_damaged_files_are_named(state: Path) -> None:
    place = state / CORRECTIONS_FOLDER / FIRST / CLIP
    write_label_maps(place.with_suffix(".npz"), {0: np.zeros((96, 96), np.uint8)})
    with pytest.raises(DatasetError, match="has no label map of frame 2"):
        next(CorrectionsDataset(state).records()).read_labels()
    place.with_suffix(".npz").write_bytes(b"")
    with pytest.raises(DatasetError, match=f"{CLIP}.npz: holds no label maps"):
        next(CorrectionsDataset(state).records()).read_labels()
    place.with_suffix(".json").write_text("{")
    with pytest.raises(DatasetError, match=f"{FIRST}/{CLIP}: {CLIP}.json is missing or damaged"):
        next(CorrectionsDataset(state).records())
    (state / CORRECTIONS_FOLDER / INDEX_FILE).write_text('{"clips": [{"study": "../x"}]}')
    with pytest.raises(DatasetError, match="is no index of corrections"):
        CorrectionsDataset(state)


def test_the_verifier_counts_and_finds(state: Path) -> None:
    sound = inspected(inspect_corrections, state)
    assert sound.is_sound
    assert (sound.usable, sound.counted) == (4, {"clips": 4, "patients": 4})
    (state / "inputs" / FIRST / "clip.avi").unlink()
    path = state / CORRECTIONS_FOLDER / f"{1:016x}" / f"{CLIP}.json"
    path.write_text(json.dumps({"clip_id": CLIP, "view": "A9C"}))
    found = inspected(inspect_corrections, state)
    assert [finding.check for finding in found.findings] == ["correction", "missing file"]
    assert found.usable == 2
