"""A kind of recipe is registered under the name that its own section says, and forgets nothing of where it started."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_pretraining import pretrain_recipe
from tiny_tasks import BLOCKS, IMAGE_SIZE, PROVENANCE, TinyTasks, ef_recipe, multitask_recipe

from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.adapters import AdapterConfig
from echoapex.models.bundle import read_card, update_card
from echoapex.models.decoders.linear import ViewFromMasksDecoder
from echoapex.models.encoder import EncoderConfig
from echoapex.recipes.camus import CamusRecipe
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe, DatasetViewsRecipe, DatasetWallsRecipe
from echoapex.recipes.ejection_fraction import DatasetEjectionFractionRecipe
from echoapex.recipes.joint import JointRecipe, RealFrames
from echoapex.recipes.recipe import Provenance, TaskRecipe
from echoapex.recipes.runner import TASK_KINDS
from echoapex.recipes.view_from_masks import ViewFromMasksRecipe, ViewFromMasksTask
from echoapex.tasks.task import Task

BOUND = {"licence": "CC-BY-NC-SA-4.0", "non_commercial": True}


@pytest.mark.parametrize("name", TASK_KINDS)
def test_a_kind_says_its_own_name_and_keeps_the_contract(name: str) -> None:
    kind = TASK_KINDS[name]
    assert kind.model_fields["kind"].default == name
    assert issubclass(kind, TaskRecipe)
    assert kind.build is not TaskRecipe.build
    assert kind.write is not TaskRecipe.write


@pytest.fixture(scope="module")
def bound_set(saved_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set every bundle of which is for non-commercial use, each with data of its own."""
    directory = tmp_path_factory.mktemp("bound") / "bound"
    shutil.copytree(saved_set, directory)
    for bundle in directory.iterdir():
        update_card(bundle, **BOUND, name=f"bound-{bundle.name}", training_data=[f"data of {bundle.name}"])
    return directory


Trained = tuple[TaskRecipe, Task]


def multitask_of_set(start: Path, tasks: TinyTasks) -> Trained:
    recipe = multitask_recipe().model_copy(update={"start": start})
    return recipe, recipe.build_task()


def multitask_of_encoder(start: Path, tasks: TinyTasks) -> Trained:
    recipe = multitask_recipe().model_copy(update={"encoder_bundle": start / "encoder"})
    return recipe, recipe.build_task()


def camus(start: Path, tasks: TinyTasks) -> Trained:
    recipe = CamusRecipe(
        root=Path("camus"), encoder_bundle=start / "encoder", decoder_bundle=start / "segmentation", blocks=BLOCKS
    )
    return recipe, recipe.build_task()


def ejection_fraction(start: Path, tasks: TinyTasks) -> Trained:
    return ef_recipe(start / "encoder"), tasks.ejection_fraction


def dataset_ejection_fraction(start: Path, tasks: TinyTasks) -> Trained:
    recipe = DatasetEjectionFractionRecipe(dataset="folder", root=Path("clips"), start=str(start))
    return recipe, tasks.ejection_fraction


def dataset_views(start: Path, tasks: TinyTasks) -> Trained:
    recipe = DatasetViewsRecipe(dataset="folder", root=Path("clips"), start=str(start))
    return recipe, recipe.build_task()


def dataset_segmentation(start: Path, tasks: TinyTasks) -> Trained:
    recipe = DatasetSegmentationRecipe(dataset="folder", root=Path("clips"), start=str(start))
    return recipe, recipe.build_task()


def dataset_walls(start: Path, tasks: TinyTasks) -> Trained:
    recipe = DatasetWallsRecipe(dataset="corrections", root=Path("state"), start=str(start))
    return recipe, recipe.build_task()


def view_from_masks(start: Path, tasks: TinyTasks) -> Trained:
    recipe = ViewFromMasksRecipe(
        start=str(start), stores={"views": PhantomStoreConfig(patients=1)},
        validation=PhantomStoreConfig(patients=1, first_seed=190_000),
    )  # fmt: skip
    return recipe, ViewFromMasksTask(ViewFromMasksDecoder.build(recipe.decoder))


def pretrain(start: Path, tasks: TinyTasks) -> Trained:
    recipe = pretrain_recipe(start=start / "encoder", encoder=EncoderConfig(image_size=IMAGE_SIZE))
    return recipe, recipe.build_task()


def joint(start: Path, tasks: TinyTasks) -> Trained:
    plain = multitask_recipe()
    values = {name: getattr(plain, name) for name in type(plain).model_fields if name != "kind"}
    own = RealFrames(dataset="folder", root=Path("clips"), frames=FrameSourceConfig())
    recipe = JointRecipe(
        **values | {"encoder_bundle": start / "encoder", "decoders": start, "real": {"own": own}},
    )
    return recipe, recipe.build_task()


PATHS: list[Callable[[Path, TinyTasks], Trained]] = [
    multitask_of_set, multitask_of_encoder, camus, ejection_fraction, dataset_ejection_fraction, dataset_views,
    dataset_segmentation, dataset_walls, view_from_masks, pretrain, joint,
]  # fmt: skip


def test_every_kind_has_its_path_below(tasks: TinyTasks, bound_set: Path) -> None:
    assert {type(path(bound_set, tasks)[0]) for path in PATHS} == set(TASK_KINDS.values())


@pytest.mark.parametrize("path", PATHS)
def test_what_a_start_is_bound_to_is_on_every_card_that_comes_of_it(
    path: Callable[[Path, TinyTasks], Trained], bound_set: Path, tasks: TinyTasks, tmp_path: Path
) -> None:
    recipe, task = path(bound_set, tasks)
    recipe.export(task, tmp_path / "out", PROVENANCE)
    cards = [read_card(bundle) for bundle in (tmp_path / "out").iterdir()]
    assert [card.name for card in cards].count(PROVENANCE.name) >= 1
    for card in cards:
        assert card.non_commercial, card.name
        assert "CC-BY-NC-SA-4.0" in card.licence
        if card.name == PROVENANCE.name:
            assert "data of encoder" in card.training_data
            assert set(PROVENANCE.training_data) <= set(card.training_data)
            assert "went on from bound-encoder 0.1.0" in card.notes


def test_an_adapter_that_was_given_is_a_parent_too(saved_set: Path, tasks: TinyTasks, tmp_path: Path) -> None:
    recipe = multitask_recipe().model_copy(update={"encoder_bundle": saved_set / "encoder"})
    lora = recipe.setting.model_copy(update={"name": "lora", "adapter": AdapterConfig()})
    first = recipe.model_copy(update={"setting": lora})
    # an encoder that learns beside an adapter is written anew, so that the adapter belongs to what was written
    first.export(first.build_task(), tmp_path / "first", PROVENANCE)
    place = tmp_path / "first" / "segmentation" / "adapter"
    update_card(place, **BOUND, name="bound-adapter")
    again = lora.model_copy(update={"start": place})
    second = recipe.model_copy(update={"encoder_bundle": None, "start": tmp_path / "first", "setting": again})
    assert place in second.starts()


def test_what_camus_taught_carries_its_licence_whatever_the_recipe_says(
    saved_set: Path, tasks: TinyTasks, tmp_path: Path
) -> None:
    recipe, task = camus(saved_set, tasks)
    recipe.export(task, tmp_path / "out", Provenance(name="mine", training_data=("CAMUS",), licence="Apache-2.0"))
    card = read_card(tmp_path / "out" / "segmentation")
    assert card.non_commercial
    assert card.licence.startswith("CC-BY-NC-SA-4.0")


@pytest.mark.parametrize("kind", ["multitask", "ejection_fraction", "view_from_masks", "pretrain"])
def test_a_recipe_whose_judges_are_also_taught_is_refused(kind: str) -> None:
    taught, judging = PhantomStoreConfig(patients=40), PhantomStoreConfig(patients=2, first_seed=700)
    needs = {"start": "phantom", "encoder_bundle": "encoder", "stores": {"views": taught}, "validation": judging}
    values = {name: needs[name] for name in needs if TASK_KINDS[kind].model_fields.get(name)}
    if kind == "multitask":
        values.pop("start")
        values.pop("encoder_bundle")
    if kind == "pretrain":
        values.pop("start")
    with pytest.raises(ValidationError, match=r"20 patients of validation \(seeds from 700\) are also in stores.views"):
        TASK_KINDS[kind](**values)
    apart = judging.model_copy(update={"first_seed": 720})
    TASK_KINDS[kind](**{**values, "validation": apart})
