"""Clips of named data sets for recipes: nobody both teaches and judges, and what has no truth is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from avi_files import write_avi
from dataset_findings import edit_table
from tiny_clip_folder import write_tiny_clip_folder
from tiny_tasks import PROVENANCE
from tiny_tmed2 import write_tiny_tmed2

from echoapex.data.datasets import ClipRecord, DatasetError
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import BundleError
from echoapex.phantom import simulate_clip
from echoapex.recipes.clips import DatasetClips, starting_bundles
from echoapex.recipes.ejection_fraction import not_apical
from echoapex.recipes.recipe import Workspace
from echoapex.vocabulary import Application, Quantity, View


def clips_of(dataset: str, root: Path) -> DatasetClips:
    return DatasetClips(dataset=dataset, root=root, store=DatasetStoreConfig(frames=2, size=64))


def workspace_in(folder: Path) -> Workspace:
    return Workspace(folder, 1, lambda what, done, total: None)


def has_view(record: ClipRecord) -> bool:
    return record.view is not None


def has_ef(record: ClipRecord) -> bool:
    return record.value(Quantity.LVEF) is not None


def test_the_training_split_teaches_and_the_validation_split_judges(tmp_path: Path) -> None:
    clips = write_tiny_clip_folder(tmp_path)
    teaching, judging = clips_of("folder", tmp_path).open(has_view, "a view", workspace_in(tmp_path))
    expected = [clips[f"ward {number}/clip{number}.avi"].ejection_fraction_percent for number in (0, 1)]
    found = [float(store.truth["ef_percent"][0]) for store in (teaching, judging)]
    assert found == pytest.approx(expected, abs=1e-3)
    assert (len(teaching), len(judging)) == (1, 1), "the test split is never looked at"


def test_images_without_an_exact_view_do_not_teach_views(tmp_path: Path) -> None:
    write_tiny_tmed2(tmp_path)
    teaching, judging = clips_of("tmed2", tmp_path).open(has_view, "a view", workspace_in(tmp_path))
    assert (len(teaching), len(judging)) == (3, 1), "PSAX tells no level"


def test_a_truth_that_is_not_there_and_a_patient_in_both_parts_are_refused(tmp_path: Path) -> None:
    write_tiny_tmed2(tmp_path / "tmed2")
    with pytest.raises(DatasetError, match="has an ejection fraction"):
        clips_of("tmed2", tmp_path / "tmed2").open(
            lambda record: record.value(Quantity.LVEF) is not None, "an ejection fraction", workspace_in(tmp_path)
        )
    write_tiny_clip_folder(tmp_path / "mine")

    def same_patient(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["patient"] = "P0"

    edit_table(tmp_path / "mine" / "clips.csv", same_patient)
    with pytest.raises(DatasetError, match="P0 both teaches and judges"):
        clips_of("folder", tmp_path / "mine").open(has_view, "a view", workspace_in(tmp_path))
    assert not (tmp_path / "stores").exists()


def test_listed_clips_that_are_not_there_are_counted(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)

    def all_teach_but_one(rows: list[dict[str, str]]) -> None:
        rows[2]["split"] = "train"

    edit_table(tmp_path / "clips.csv", all_teach_but_one)
    (tmp_path / "ward 2" / "clip2.avi").unlink()
    told: list[tuple[str, int, int]] = []
    workspace = Workspace(tmp_path, 1, lambda *said: told.append(said))
    teaching, _ = clips_of("folder", tmp_path).open(has_view, "a view", workspace)
    assert len(teaching) == 1
    assert told[0] == ("listed training clips that are there", 1, 2)
    assert [what for what, _, _ in told[1:]] == ["training clips", "judging clips"]


def test_an_ejection_fraction_is_not_learned_from_a_view_that_is_not_apical(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)

    def long_axis(rows: list[dict[str, str]]) -> None:
        rows[2] |= {"split": "train", "view": "PLAX"}

    edit_table(tmp_path / "clips.csv", long_axis)
    told: list[tuple[str, int, int]] = []

    def teaching() -> int:
        clips = clips_of("folder", tmp_path)
        return len(clips.open(has_ef, "an ejection fraction", Workspace(tmp_path, 1, tell), not_apical)[0])

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    assert teaching() == 1
    assert told[0] == ("training clips set aside, their view PLAX is not apical", 1, 2)

    def all_long_axis(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["view"] = "PLAX"

    edit_table(tmp_path / "clips.csv", all_long_axis)
    with pytest.raises(DatasetError, match=r"has an ejection fraction \(2 of them set aside, their view PLAX is not"):
        teaching()


def test_a_changed_table_or_file_is_prepared_anew(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    clips = clips_of("folder", tmp_path)

    def prepared() -> int:
        clips.open(has_view, "a view", workspace_in(tmp_path))
        return len(list((tmp_path / "stores").iterdir()))

    assert (prepared(), prepared()) == (2, 2)

    def corrected(rows: list[dict[str, str]]) -> None:
        rows[0]["ef_percent"] = "31"

    edit_table(tmp_path / "clips.csv", corrected)
    assert prepared() == 3
    longer = simulate_clip(View.A4C, 0, size=96, frames=6)
    write_avi(tmp_path / "ward 0" / "clip0.avi", longer.frames)
    assert prepared() == 4


def test_the_card_carries_the_terms_of_the_data(tmp_path: Path) -> None:
    assert clips_of("folder", tmp_path).taught(PROVENANCE) == PROVENANCE
    theirs = clips_of("tmed2", tmp_path).taught(PROVENANCE)
    assert theirs.non_commercial
    assert "Tufts" in theirs.licence
    assert "split train" in theirs.training_data[0]


def test_a_start_without_the_task_is_refused(saved_set: Path, tmp_path: Path) -> None:
    shutil.copytree(saved_set, tmp_path / "start")
    shutil.rmtree(tmp_path / "start" / "ejection_fraction")
    with pytest.raises(BundleError, match="start: the set has no decoder for 'ejection_fraction'"):
        starting_bundles(str(tmp_path / "start"), Application.EJECTION_FRACTION)


def test_a_set_that_is_not_there_is_named() -> None:
    with pytest.raises(BundleError, match="nonesuch"):
        starting_bundles("nonesuch", Application.VIEW_CLASSIFICATION)
