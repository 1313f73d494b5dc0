"""The ejection fraction learnt on from clips of a data set, on the frozen encoder of a set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dataset_findings import edit_table
from tiny_clip_folder import write_tiny_clip_folder
from tiny_echonet_dynamic import write_tiny_echonet_dynamic
from tiny_tasks import IMAGE_SIZE, PROVENANCE, TinyTasks

from echoapex.data.stores.clip_store import FewShot
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import load_bundle
from echoapex.recipes.ejection_fraction import DatasetEjectionFractionRecipe
from echoapex.recipes.ejection_fraction_clips import FrozenFeatureConfig
from echoapex.recipes.recipe import LearningSetting, SettingName, Workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echonet")
    write_tiny_echonet_dynamic(folder)
    return folder


def recipe_on(root: Path, saved_set: Path, **changes: object) -> DatasetEjectionFractionRecipe:
    values = {
        "dataset": "echonet_dynamic",
        "root": root,
        "start": str(saved_set),
        "store": DatasetStoreConfig(frames=4, size=IMAGE_SIZE),
        "features": FrozenFeatureConfig(size=IMAGE_SIZE, batch_size=2, frames=(2, 4)),
    }
    return DatasetEjectionFractionRecipe(**{**values, **changes})


def workspace_in(folder: Path) -> Workspace:
    return Workspace(folder, 1, lambda what, done, total: None)


def test_the_decoder_goes_on_from_the_set_and_the_encoder_stays(
    tasks: TinyTasks, root: Path, saved_set: Path, tmp_path: Path
) -> None:
    workload = recipe_on(root, saved_set).build(workspace_in(tmp_path))
    assert (len(workload.batches), workload.validation_batches) == (4, 1), "two clips in two variants; one judges"
    for name, value in tasks.ejection_fraction.decoder.state_dict().items():
        assert torch.equal(workload.task.decoder.state_dict()[name], value.half().float()), name
    assert not any(parameter.requires_grad for parameter in workload.task.encoder.parameters())
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()
    assert "ef_mae" in workload.task.score(workload.validation.batch(0))
    fresh = recipe_on(root, saved_set, fresh_decoder=True).build(workspace_in(tmp_path)).task.decoder.state_dict()
    known = workload.task.decoder.state_dict()
    assert not all(torch.equal(value, known[name]) for name, value in fresh.items())


def test_a_few_patients_teach_and_all_the_same_ones_judge(root: Path, saved_set: Path, tmp_path: Path) -> None:
    few = recipe_on(root, saved_set, few_shot=FewShot(clips=1)).build(workspace_in(tmp_path))
    assert (len(few.batches), few.validation_batches) == (2, 1)
    everyone = recipe_on(root, saved_set).build(workspace_in(tmp_path))
    assert (len(everyone.batches), everyone.validation_batches) == (4, 1)
    assert len(list((tmp_path / "features").glob("*-judging-*.npy"))) == 1


def test_another_clip_with_the_same_ejection_fraction_is_encoded_anew(saved_set: Path, tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path / "mine")

    def features() -> torch.Tensor:
        recipe = recipe_on(tmp_path / "mine", saved_set, dataset="folder")
        patches: torch.Tensor = recipe.build(workspace_in(tmp_path)).validation.batch(0).patches
        return patches

    def exchanged(rows: list[dict[str, str]]) -> None:
        rows[1]["file"] = rows[2]["file"]

    first, again = features(), features()
    edit_table(tmp_path / "mine" / "clips.csv", exchanged)
    assert torch.equal(first, again)
    assert not torch.equal(first, features())


@pytest.mark.parametrize("name", ["full", "lora"])
def test_an_encoder_or_an_adapter_can_learn_with_the_decoder(
    name: SettingName, root: Path, saved_set: Path, tmp_path: Path
) -> None:
    recipe = recipe_on(root, saved_set, setting=LearningSetting(name=name))
    workload = recipe.build(workspace_in(tmp_path))
    assert not (tmp_path / "features").exists()
    batch, again = workload.batches.batch(3), workload.batches.batch(3)
    assert torch.equal(batch.pixels, again.pixels)
    assert batch.pixels.shape[0] == 2
    assert (batch.times_s[:, 0] == 0).all()
    task = workload.task
    task.loss(batch).total.backward()
    learner = task.adapter if name == "lora" else task.encoder
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters())
    assert workload.validation.batch(0).pixels.shape == (1, 4, IMAGE_SIZE, IMAGE_SIZE)
    assert "ef_mae" in task.score(workload.validation.batch(0))
    recipe.export(task, tmp_path / "bundles", PROVENANCE)
    load_bundle(tmp_path / "bundles" / "ejection_fraction").require_encoder(
        load_bundle(tmp_path / "bundles" / "encoder")
    )
    assert (tmp_path / "bundles" / "ejection_fraction" / "adapter").exists() is (name == "lora")


def test_pixels_and_their_features_say_the_same(tasks: TinyTasks, root: Path, saved_set: Path, tmp_path: Path) -> None:
    frozen = recipe_on(root, saved_set).build(workspace_in(tmp_path))
    learning = recipe_on(root, saved_set, setting=LearningSetting(name="full")).build(workspace_in(tmp_path))
    frozen.task.eval()
    learning.task.eval()
    scores = [each.task.score(each.validation.batch(0))["ef_mae"] for each in (frozen, learning)]
    assert scores[0] == pytest.approx(scores[1], abs=0.2), "features are kept in half precision"


def test_the_card_names_data_terms_and_encoder(root: Path, saved_set: Path, tmp_path: Path) -> None:
    recipe = recipe_on(root, saved_set)
    task = recipe.build(workspace_in(tmp_path)).task
    recipe.export(task, tmp_path / "bundles", PROVENANCE)
    bundle = load_bundle(tmp_path / "bundles" / "ejection_fraction")
    bundle.require_encoder(load_bundle(tmp_path / "bundles" / "encoder"))
    assert bundle.card.non_commercial
    assert "Stanford" in bundle.card.licence
    assert "EchoNet-Dynamic" in bundle.card.training_data[0]
