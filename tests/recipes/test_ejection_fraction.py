"""The recipe of the ejection fraction: features of a frozen encoder, and a set that works by itself."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_tasks import IMAGE_SIZE, PROVENANCE, TinyTasks, ef_recipe

from echoapex.config import ConfigError
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import BundleError, load_bundle
from echoapex.recipes.ejection_fraction_clips import FrozenFeatureConfig
from echoapex.recipes.recipe import Workspace
from echoapex.vocabulary import View


def clips(first_seed: int) -> PhantomStoreConfig:
    return PhantomStoreConfig(
        first_seed=first_seed, patients=2, views=(View.A4C,), frames=3, labelled=2, native_size=96, size=IMAGE_SIZE
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"), 1, lambda what, done, total: None)


def recipe_with(saved_set: Path, **features: object) -> object:
    config = FrozenFeatureConfig(**{"size": IMAGE_SIZE, "batch_size": 2, "frames": (2, 3), **features})
    changes = {"stores": {"ef": clips(0)}, "validation": clips(190_000), "features": config}
    return ef_recipe(saved_set / "encoder").model_copy(update=changes)


def test_training_clips_are_augmented_and_validation_clips_whole_and_plain(
    saved_set: Path, workspace: Workspace
) -> None:
    workload = recipe_with(saved_set).build(workspace)
    assert len(workload.batches) == 4, "two clips in two variants"
    assert workload.validation_batches == 2
    assert workload.validation.batch(0).times_s.shape == (1, 3)
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()
    before = load_bundle(saved_set / "encoder").state
    assert all(torch.equal(value, before[name]) for name, value in workload.task.encoder.state_dict().items())


def test_a_decoder_that_does_not_fit_the_encoder_is_one_line(saved_set: Path, workspace: Workspace) -> None:
    recipe = recipe_with(saved_set)
    wide = recipe.model_copy(update={"decoder": recipe.decoder.model_copy(update={"width": 384})})
    with pytest.raises(ConfigError, match=r"decoder\.width is 384, the encoder's tokens have \d+: set it"):
        wide.build(workspace)


def test_other_features_are_encoded_anew_and_other_batches_are_not(saved_set: Path, workspace: Workspace) -> None:
    def files_after(**features: object) -> int:
        recipe_with(saved_set, **features).build(workspace)
        return len(list((workspace.directory / "features").glob("*.npy")))

    count = files_after()
    assert files_after(batch_size=1, frames=(1, 2)) == count
    assert files_after(variants=1) == count + 1, "validation is plain already"
    assert files_after(seed=9) == count + 3


def test_the_card_names_the_encoder_that_lies_beside_it(tasks: TinyTasks, saved_set: Path, tmp_path: Path) -> None:
    encoder = shutil.copytree(saved_set / "encoder", tmp_path / "elsewhere")
    ef_recipe(encoder).export(tasks.ejection_fraction, tmp_path / "bundles", PROVENANCE)
    bundle = load_bundle(tmp_path / "bundles" / "ejection_fraction")
    beside = load_bundle(tmp_path / "bundles" / "encoder")
    bundle.require_encoder(beside)
    assert bundle.card.architecture["decoder"] == tasks.ejection_fraction.decoder.config.model_dump(mode="json")
    assert bundle.card.architecture["blocks"] == [11]


def test_the_interval_is_widened_to_the_errors_of_validation(tasks: TinyTasks, saved_set: Path, tmp_path: Path) -> None:
    metrics = {"validation/ef_squared_error_over_variance": 2.25}
    judged = PROVENANCE.model_copy(update={"metrics": metrics})
    ef_recipe(saved_set / "encoder").export(tasks.ejection_fraction, tmp_path, judged)
    assert load_bundle(tmp_path / "ejection_fraction").card.calibration == {"interval_factor": 1.5}


def test_a_missing_encoder_is_named_before_anything_is_drawn(tmp_path: Path) -> None:
    recipe = ef_recipe(tmp_path / "nowhere").model_copy(
        update={"stores": {"ef": clips(0)}, "validation": clips(190_000)}
    )
    with pytest.raises(BundleError, match="nowhere"):
        recipe.build(Workspace(tmp_path, 1, lambda what, done, total: pytest.fail("drawn")))
