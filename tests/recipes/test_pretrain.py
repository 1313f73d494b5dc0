"""The recipe of pretraining: built on phantom clips or archives, started from a bundle, exported as an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_clips import draw_store
from tiny_pretraining import build_pretrain, pretrain_recipe
from tiny_tasks import PROVENANCE

from echoapex.config import ConfigError, build_config
from echoapex.data.stores.frame_reader import EVEN_VISITS, ClipStoreReader, FrameReader, RepeatedReader
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import BundleError, build_encoder_from, load_bundle
from echoapex.models.encoder import EncoderConfig
from echoapex.models.weights_file import WeightsError
from echoapex.recipes import pretrain as module
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.recipe import Workspace

STORE = {"patients": 2, "views": ["A4C", "PLAX"], "frames": 2, "labelled": 1, "native_size": 96, "size": 64}


def test_a_workload_joins_archives_and_phantom_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = ClipStoreReader([draw_store(tmp_path / "archive", clips=3)])
    monkeypatch.setattr(module, "open_frame_store", {"mine.lance": archive}.__getitem__)
    recipe = pretrain_recipe(
        archives=("mine.lance",),
        stores={"drawn": PhantomStoreConfig(**STORE)},
        validation=PhantomStoreConfig(**STORE, first_seed=190_000),
        validation_batch=5,
    )
    told: list[str] = []
    workload = recipe.build(Workspace(tmp_path, 1, lambda what, done, total: told.append(what)))
    assert told == ["phantom clips, drawn", "phantom clips, validation"]
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()
    assert workload.validation_batches == 2
    assert workload.validation.batch(1).pixels.shape == (4, 48, 48)
    assert workload.task.score(workload.validation.batch(0))["effective_rank"] > 0


def test_archives_visited_by_weights_keep_their_part_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = ClipStoreReader([draw_store(tmp_path / "archive", clips=3, frames=4)])
    asked: list[tuple[object, ...]] = []

    def opened(*arguments: object) -> FrameReader:
        asked.append(arguments)
        return RepeatedReader(archive, EVEN_VISITS) if len(arguments) == 2 else archive

    monkeypatch.setattr(module, "open_frame_store", opened)
    monkeypatch.setattr(module, "CropSource", lambda reader, *others: reader)
    recipe = pretrain_recipe(
        archives=("a", "b"),
        curation={"b": tmp_path / "curated"},
        stores={"drawn": PhantomStoreConfig(**STORE)},
        validation=PhantomStoreConfig(**STORE, first_seed=190_000),
    )
    joined = recipe.build(Workspace(tmp_path, 1, lambda what, done, total: None)).batches
    assert asked == [("a",), ("b", tmp_path / "curated")]
    assert len(joined) == EVEN_VISITS * (12 + 12 + 8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"curation": {"frames": "curated"}}, "curation names frames, which is none of the archives"),
        ({"stores": {}}, "there are no frames to learn from; name phantom clips under stores, or archives"),
        (
            {"frames": {"crops": {"global_crops": {"count": 2, "side": 100, "scale": [0.3, 1.0]}}}},
            "frames.crops.global_crops.side is 100, not a whole number of patches of 16",
        ),
        ({"schedule": {"steps": 0}}, "schedule.steps"),
        ({"weights": {"kolea": 1}}, "weights.kolea: unknown key; did you mean 'koleo'?"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(changes: dict, words: str) -> None:
    values = {
        "kind": "pretrain",
        "schedule": {"steps": 3},
        "stores": {"a": {"patients": 1}},
        "validation": {"patients": 1, "first_seed": 190_000},
    }
    with pytest.raises(ConfigError) as caught:
        build_config(PretrainRecipe, {**values, **changes}, "recipe.yaml: task")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_exported_encoder_is_the_teacher_and_can_be_started_from(tmp_path: Path) -> None:
    recipe, task = pretrain_recipe(), build_pretrain()
    with torch.no_grad():
        for parameter in task.student.parameters():
            parameter.fill_(7.0)
    recipe.export(task, tmp_path, PROVENANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
    bundle = load_bundle(tmp_path / "encoder")
    assert EncoderConfig.model_validate(bundle.card.architecture) == recipe.encoder
    assert bundle.card.preprocessing.size == (48, 48)
    exported, taught = build_encoder_from(bundle).state_dict(), task.teacher.encoder.state_dict()
    for name, tensor in taught.items():
        torch.testing.assert_close(exported[name], tensor.half().float(), rtol=0, atol=0)
    torch.manual_seed(1)
    again = pretrain_recipe(start=tmp_path / "encoder").build_task()
    for part in (again.student.encoder, again.teacher.encoder):
        for name, tensor in part.state_dict().items():
            if name != "mask_token":  # one of zeros is woken
                torch.testing.assert_close(tensor, exported[name], rtol=0, atol=0)


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path, saved_set: Path) -> None:
    with pytest.raises(BundleError, match="holds a decoder for 'segmentation'; give an encoder bundle"):
        pretrain_recipe(start=saved_set / "segmentation").build_task()
    with pytest.raises(
        WeightsError, match=r"is a tiny encoder with patches of 16, the recipe wants small .*set task.encoder"
    ):
        pretrain_recipe(encoder=EncoderConfig(size="small", image_size=48), start=saved_set / "encoder").build_task()
    with pytest.raises(BundleError, match="cannot be read"):
        pretrain_recipe(start=tmp_path / "nowhere").build_task()


def test_the_schedule_is_as_long_as_the_run_unless_it_says_otherwise() -> None:
    by_itself = pretrain_recipe(schedule={"momentum": 0.9})
    assert by_itself.schedule.steps is None
    assert by_itself.for_updates(70).schedule.steps == 70
    assert by_itself.for_updates(70).schedule.momentum == 0.9
    assert pretrain_recipe(schedule={"steps": 20}).for_updates(70).schedule.steps == 20
    with pytest.raises(ValueError, match=r"set schedule\.steps"):
        by_itself.schedule.momentum_at(3)
