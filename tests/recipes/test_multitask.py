"""The recipe of the shared encoder: built on drawn stores, exported as a set, refused when its parts do not fit."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_tasks import BLOCKS, IMAGE_SIZE, PROVENANCE, TinyTasks, multitask_recipe

from echoapex.config import ConfigError, build_config
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import BundleError, load_bundle, update_card
from echoapex.models.encoder import EncoderConfig
from echoapex.models.weights_file import WeightsError
from echoapex.recipes.multitask import MultiTaskRecipe
from echoapex.recipes.recipe import LearningSetting, Workspace
from echoapex.vocabulary import Structure, View

STORE = {"patients": 1, "views": ["A4C", "PLAX"], "frames": 2, "labelled": 2, "native_size": 96, "size": 64}


def test_a_workload_draws_its_stores_and_gives_batches(tmp_path: Path) -> None:
    recipe = multitask_recipe().model_copy(
        update={
            "stores": {"views": PhantomStoreConfig(**STORE)},
            "validation": PhantomStoreConfig(**STORE, first_seed=190_000),
            "validation_batch": 3,
        }
    )
    told: list[str] = []
    workload = recipe.build(Workspace(tmp_path, 1, lambda what, done, total: told.append(what)))
    assert told == ["phantom clips, views", "phantom clips, validation"]
    batch = workload.batches.batch(0)
    assert batch.pixels.shape == (48, IMAGE_SIZE, IMAGE_SIZE)
    assert workload.validation_batches == 2, "each frame once, those of a clip together"
    views = [workload.validation.batch(number).view.tolist() for number in range(2)]
    plax = list(View).index(View.PLAX)
    assert len(views[0]) == 2 and plax not in views[0]
    assert set(views[1]) == {plax}
    walls = [int(workload.validation.batch(number).has_walls.sum()) for number in range(2)]
    assert walls == [0, 1], "walls are always judged"
    assert workload.task.loss(batch).total.isfinite()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": {"size": "small"}}, "view.width is 192, the encoder's tokens have 384; set it to 384"),
        ({"blocks": [3, 11]}, "segmentation.depths is 4, but blocks names 2; make them agree"),
        ({"blocks": [2, 5, 8, 12]}, "blocks [2, 5, 8, 12] must be indices from 0 to 11"),
        ({"frames": {"sizes": [[0, 96], [10, 100]]}}, "frames.sizes: [100] are not whole numbers of patches of 16"),
        (
            {"encoder": {"patch_size": 14}, "frames": {"sizes": [[0, 126]]}},
            "frames.sizes: [126] are not multiples of 4, which the segmentation needs",
        ),
        ({"start": "set", "encoder_bundle": "encoder"}, "start already holds an encoder; leave encoder_bundle out"),
        ({"weights": {"volume": 0.5}}, "weights.volume compares frames of a clip; set frames.frames_per_clip to 2"),
        ({"validation": {"patients": 20_000}}, "leave the training range"),
        (
            {"stores": {"views": {"patients": 1, "frams": 3}}},
            "stores.views.frams: unknown key; did you mean 'frames'?",
        ),
    ],
)
def test_parts_that_do_not_fit_are_one_line_before_anything_is_drawn(changes: dict, words: str) -> None:
    values = {"kind": "multitask", "stores": {}, "validation": {"patients": 1}, **changes}
    with pytest.raises(ConfigError) as caught:
        build_config(MultiTaskRecipe, values, "recipe.yaml: task")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_encoder_alone_can_be_the_start(saved_set: Path) -> None:
    recipe = multitask_recipe().model_copy(update={"encoder_bundle": saved_set / "encoder"})
    task = recipe.build_task()
    given = load_bundle(saved_set / "encoder").state
    assert all(
        torch.equal(value, given[name].float())
        for name, value in task.encoder.state_dict().items()
        if name != "mask_token"
    )
    frozen = recipe.model_copy(update={"setting": LearningSetting(name="frozen")})
    assert not any(parameter.requires_grad for parameter in frozen.build_task().encoder.parameters())


def test_a_start_whose_decoders_need_an_adapter_is_refused(saved_set: Path, tmp_path: Path) -> None:
    adapted = tmp_path / "adapted"
    shutil.copytree(saved_set, adapted)
    (adapted / "segmentation" / "adapter").mkdir()
    recipe = multitask_recipe().model_copy(update={"start": adapted})
    with pytest.raises(BundleError, match=r"run echoapex models merge .* and start from DIR"):
        recipe.build_task()


def test_a_frozen_start_is_exported_as_it_was(saved_set: Path, tmp_path: Path) -> None:
    recipe = multitask_recipe().model_copy(
        update={"encoder_bundle": saved_set / "encoder", "setting": LearningSetting(name="frozen")}
    )
    recipe.export(recipe.build_task(), tmp_path, PROVENANCE)
    before, after = load_bundle(saved_set / "encoder"), load_bundle(tmp_path / "encoder")
    assert after.digest == before.digest
    assert load_bundle(tmp_path / "segmentation").card.base_encoder_sha256 == after.digest


@pytest.mark.parametrize("start", ["start", "encoder_bundle"])
def test_the_terms_of_a_start_are_carried_over(start: str, saved_set: Path, tmp_path: Path) -> None:
    bound = tmp_path / "bound"
    shutil.copytree(saved_set, bound)
    terms = {"licence": "CC-BY-NC-SA-4.0", "non_commercial": True, "training_data": ["CAMUS"]}
    update_card(bound / "encoder", **terms)
    given = {"start": bound, "encoder_bundle": bound / "encoder"}[start]
    recipe = multitask_recipe().model_copy(update={start: given})
    recipe.export(recipe.build_task(), tmp_path / "out", PROVENANCE)
    for name in ("encoder", "segmentation"):
        card = load_bundle(tmp_path / "out" / name).card
        assert card.non_commercial
        assert card.licence == f"{PROVENANCE.licence}; CC-BY-NC-SA-4.0"
        assert set(card.training_data) == {*PROVENANCE.training_data, "CAMUS"}


def test_the_architecture_is_that_of_the_weights(saved_set: Path) -> None:
    recipe = multitask_recipe()
    other = recipe.encoder.model_copy(update={"registers": 2, "drop_path": 0.25})
    task = recipe.model_copy(update={"encoder": other, "encoder_bundle": saved_set / "encoder"}).build_task()
    assert (task.encoder.config.registers, task.encoder.config.drop_path) == (recipe.encoder.registers, 0.25)
    patches = recipe.encoder.model_copy(update={"patch_size": 8})
    with pytest.raises(WeightsError, match="patches of 16, the recipe wants tiny with 8"):
        recipe.model_copy(update={"encoder": patches, "encoder_bundle": saved_set / "encoder"}).build_task()


def test_cards_agree_with_the_weights(tasks: TinyTasks, saved_set: Path) -> None:
    encoder = load_bundle(saved_set / "encoder")
    assert EncoderConfig.model_validate(encoder.card.architecture) == tasks.multitask.encoder.config
    labels = {
        "view_classification": tuple(view.value for view in View),
        "segmentation": tuple(structure.key for structure in Structure),
        "lv_wall": (),
    }
    for name, order in labels.items():
        bundle = load_bundle(saved_set / name)
        decoder = tasks.by_name[name].decoder
        assert bundle.card.task == name
        assert bundle.card.label_order == order
        assert bundle.card.architecture["decoder"] == decoder.config.model_dump(mode="json")
        assert bundle.card.architecture["blocks"] == list(BLOCKS)
        assert bundle.card.base_encoder_sha256 == encoder.digest
        assert bundle.card.preprocessing.size == (IMAGE_SIZE, IMAGE_SIZE)
        assert {key: value.shape for key, value in bundle.state.items()} == {
            key: value.shape for key, value in decoder.state_dict().items()
        }
        assert bundle.card.training_data == PROVENANCE.training_data


@pytest.mark.parametrize(("fitted", "written"), [(0.51, 1.0), (1.0, 1.0), (1.4, 1.4)])
def test_simulated_validation_never_makes_views_surer(
    fitted: float, written: float, saved_set: Path, tmp_path: Path
) -> None:
    recipe = multitask_recipe().model_copy(update={"encoder_bundle": saved_set / "encoder"})
    seen = PROVENANCE.model_copy(update={"metrics": {"validation/view_temperature": fitted}})
    recipe.export(recipe.build_task(), tmp_path, seen)
    assert load_bundle(tmp_path / "view_classification").card.calibration["temperature"] == written
