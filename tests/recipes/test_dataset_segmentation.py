"""Structures and views learnt from corrections: from a set, with an adapter, and on from that adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_corrections import write_tiny_corrections
from tiny_tasks import IMAGE_SIZE, PROVENANCE

from echoapex.cli import run
from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import BundleError, load_bundle, read_card
from echoapex.models.registry import find_set
from echoapex.recipes.dataset_segmentation import DatasetSegmentationRecipe
from echoapex.recipes.recipe import LearningSetting, Workspace
from echoapex.train.journal import read_figures
from echoapex.vocabulary import Structure

SMALL = ["--train.steps", "2", "--train.score_every", "2", "--train.checkpoint_every", "2"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("state")
    write_tiny_corrections(root)
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
    ],
)
def test_the_command_scores_before_and_after_on_those_held_back(
    recipe: str, bundle: str, score: str, state: Path, saved_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = ["finetune", recipe, "--dataset", "corrections", "--root", str(state), "--out", str(out)]
    assert run([*typed, "--task.start", str(saved_set), "--task.frames.batch_size", "2", *SMALL]) == 0
    figures = read_figures(out / "journal.jsonl")
    assert score in figures.start
    assert set(figures.start) == set(figures.latest)
    assert (out / "bundles" / bundle / "adapter").is_dir()
    card = read_card(out / "bundles" / bundle)
    assert "corrected by the site's own reviewers" in card.training_data[0]
    assert card.preprocessing.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert json.loads((out / "recipe.json").read_text())["task"]["dataset"] == "corrections"
