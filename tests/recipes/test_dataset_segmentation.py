"""Structures and views learnt from corrections: from a set, with an adapter, and on from that adapter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_corrections import WALLS, write_tiny_corrections
from tiny_tasks import IMAGE_SIZE, PROVENANCE

from echoapex.cli import run
from echoapex.data.datasets.corrections import CorrectionsDataset
from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.preprocess import prepare_frames
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.io.study_files import open_only_clip
from echoapex.models.bundle import BundleError, load_bundle, read_card
from echoapex.models.registry import find_set
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe, DatasetWallsRecipe
from echoapex.recipes.recipe import LearningSetting, Workspace
from echoapex.train.journal import read_figures
from echoapex.vocabulary import Structure

SMALL = ["--train.steps", "2", "--train.score_every", "2", "--train.checkpoint_every", "2"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("state")
    write_tiny_corrections(root)
    return root


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walled")
    write_tiny_corrections(root, wall_points=WALLS)
    return root


def recipe_on(state: Path, start: Path, **changes: object) -> DatasetSegmentationRecipe:
    values = {
        "dataset": "corrections",
        "root": state,
        "start": str(start),
        "store": DatasetStoreConfig(frames=3, labelled=2, size=96),
        "size_of_start": True,
        "frames": FrameSourceConfig(batch_size=2),
        "setting": LearningSetting(name="lora"),
    }
    return DatasetSegmentationRecipe.model_validate({**values, **changes})


def test_what_a_person_outlined_teaches_and_the_rest_stays_unknown(
    state: Path, saved_set: Path, tmp_path: Path
) -> None:
    workload = recipe_on(state, saved_set).build(Workspace(tmp_path, 1, lambda what, done, total: None))
    batch = workload.batches.batch(0)
    assert batch.pixels.shape[-1] == IMAGE_SIZE, "the size of the start"
    known = {structure for structure in Structure if batch.structure_known[:, structure - 1].all()}
    assert known == {Structure.LV_CAVITY, Structure.LEFT_ATRIUM}
    assert not batch.structure_known[:, Structure.LV_MYOCARDIUM - 1].any()
    held_back = workload.validation.batch(0)
    assert len(held_back) == 2, "two outlined frames of the patient who judges"
    assert set(workload.task.score(held_back)) == {"dice_lv_cavity", "dice_left_atrium"}
    workload.task.loss(batch).total.backward()
    assert all(parameter.grad is None for parameter in workload.task.encoder.patch_embedding.parameters())


def test_a_second_round_goes_on_from_the_adapter_of_the_first(state: Path, saved_set: Path, tmp_path: Path) -> None:
    first = recipe_on(state, saved_set)
    task = first.build_task()
    assert task.adapter is not None
    with torch.no_grad():
        for parameter in task.adapter.parameters():
            parameter.fill_(0.125)
    first.export(task, tmp_path / "first", PROVENANCE)
    paths = find_set(tmp_path / "first").find_task("segmentation")
    assert paths.encoder == tmp_path / "first" / "encoder"
    assert load_bundle(paths.encoder).digest == load_bundle(saved_set / "encoder").digest
    second = recipe_on(state, tmp_path / "first").build_task()
    assert second.adapter is not None
    assert all((parameter == 0.125).all() for parameter in second.adapter.parameters())
    with pytest.raises(BundleError, match="was trained with an adapter; give the setting of its kind"):
        recipe_on(state, tmp_path / "first", setting=LearningSetting(name="frozen")).build_task()


def test_the_decoder_can_learn_more_slowly(state: Path, saved_set: Path) -> None:
    task = recipe_on(state, saved_set, decoder_learning_rate_factor=0.25).build_task()
    assert task.adapter is not None
    decoder = {id(parameter) for parameter in task.decoder.parameters()}
    for group in task.parameter_groups():
        for parameter in group.parameters:
            assert group.learning_rate_factor == (0.25 if id(parameter) in decoder else 1.0)
    learning = {id(parameter) for group in task.parameter_groups() for parameter in group.parameters}
    assert learning == decoder | {id(parameter) for parameter in task.adapter.parameters()}


@pytest.mark.parametrize(
    ("recipe", "bundle", "score"),
    [
        ("corrections_segmentation", "segmentation", "dice_lv_cavity"),
        ("corrections_views", "view_classification", "view_frame_accuracy"),
        ("corrections_walls", "lv_wall", "wall_point_px"),
    ],
)
def test_the_command_scores_before_and_after_on_those_held_back(
    recipe: str, bundle: str, score: str, walled: Path, saved_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = ["finetune", recipe, "--dataset", "corrections", "--root", str(walled), "--out", str(out)]
    assert run([*typed, "--task.start", str(saved_set), "--task.frames.batch_size", "2", *SMALL]) == 0
    figures = read_figures(out / "journal.jsonl")
    assert score in figures.start
    assert set(figures.start) == set(figures.latest)
    assert (out / "bundles" / bundle / "adapter").is_dir()
    card = read_card(out / "bundles" / bundle)
    assert "corrected by the site's own reviewers" in card.training_data[0]
    assert card.preprocessing.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert json.loads((out / "recipe.json").read_text())["task"]["dataset"] == "corrections"


def test_wall_points_lie_in_the_store_where_they_were_marked(walled: Path, saved_set: Path, tmp_path: Path) -> None:
    recipe = DatasetWallsRecipe(
        dataset="corrections", root=walled, start=str(saved_set), size_of_start=True,
        store=DatasetStoreConfig(frames=2, size=96), frames=FrameSourceConfig(batch_size=2),
    )  # fmt: skip
    workload = recipe.build(Workspace(tmp_path, 1, lambda what, done, total: None))
    batch = workload.validation.batch(0)
    assert batch.has_walls.sum() == 1
    (points,) = batch.wall_points[batch.has_walls].numpy()
    (record,) = CorrectionsDataset(walled).records("val")
    prepared = prepare_frames(open_only_clip(record.path), IMAGE_SIZE)
    marked = prepared.transform.map_points(np.array(list(WALLS[1].values())))
    assert np.abs(points - marked).max() < 0.6, "within a pixel of the model"
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()


def test_outlines_come_before_walls_where_frames_are_few(walled: Path, saved_set: Path, tmp_path: Path) -> None:
    recipe = recipe_on(walled, saved_set, store=DatasetStoreConfig(frames=2, labelled=2, size=96))
    batch = recipe.build(Workspace(tmp_path, 1, lambda what, done, total: None)).validation.batch(0)
    assert (len(batch), int(batch.has_walls.sum())) == (2, 0)
