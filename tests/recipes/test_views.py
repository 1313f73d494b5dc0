"""Views learnt on from clips of a data set: from the weights of a set, in every learning setting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_clip_folder import write_tiny_clip_folder
from tiny_tasks import IMAGE_SIZE, PROVENANCE, TinyTasks

from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import load_bundle
from echoapex.recipes.dataset_task import DatasetViewsRecipe
from echoapex.recipes.recipe import LearningSetting, SettingName, Workspace
from echoapex.vocabulary import View


def recipe_on(root: Path, saved_set: Path, **changes: object) -> DatasetViewsRecipe:
    values = {
        "dataset": "folder",
        "root": root,
        "start": str(saved_set),
        "store": DatasetStoreConfig(frames=2, size=IMAGE_SIZE),
        "frames": FrameSourceConfig(batch_size=2, sizes=((0, IMAGE_SIZE),)),
    }
    return DatasetViewsRecipe(**{**values, **changes})


def test_training_goes_on_from_the_set(tasks: TinyTasks, saved_set: Path, tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    workload = recipe_on(tmp_path, saved_set).build(Workspace(tmp_path, 1, lambda what, done, total: None))
    for name, value in tasks.multitask.view.decoder.state_dict().items():
        assert torch.equal(workload.task.decoder.state_dict()[name], value.half().float()), name
    batch = workload.batches.batch(0)
    assert batch.view.tolist() == [list(View).index(View.A4C)] * 2
    assert workload.task.loss(batch).total.isfinite()
    assert workload.validation_batches == 1
    assert "view_frame_accuracy" in workload.task.score(workload.validation.batch(0))


@pytest.mark.parametrize(("name", "encoder_learns"), [("full", True), ("frozen", False), ("lora", False)])
def test_what_is_written_is_a_set_that_fits_together(
    name: SettingName, encoder_learns: bool, saved_set: Path, tmp_path: Path
) -> None:
    recipe = recipe_on(tmp_path, saved_set, setting=LearningSetting(name=name))
    task = recipe.build_task()
    learning = [parameter.requires_grad for parameter in task.encoder.parameters()]
    assert any(learning) is encoder_learns
    assert (task.adapter is not None) is (name == "lora")
    recipe.export(task, tmp_path / "bundles", PROVENANCE)
    encoder = load_bundle(tmp_path / "bundles" / "encoder")
    decoder = load_bundle(tmp_path / "bundles" / "view_classification")
    decoder.require_encoder(encoder)
    assert encoder_learns or encoder.digest == load_bundle(saved_set / "encoder").digest
    assert (tmp_path / "bundles" / "view_classification" / "adapter").exists() is (name == "lora")
    assert decoder.card.label_order == tuple(View)
