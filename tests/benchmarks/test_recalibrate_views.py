"""A set's view temperature is fitted over all held-back frames at once, and its card takes it over."""

from pathlib import Path

import pytest
import torch
from recalibrate_views import recalibrate, write
from tiny_tasks import IMAGE_SIZE, PROVENANCE, build_tasks, save_set

from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import read_card, verify_bundle
from echoapex.models.decoders.linear import ViewFromMasksConfig
from echoapex.recipes.recipe import Workspace
from echoapex.recipes.view_from_masks import ViewFromMasksRecipe
from echoapex.vocabulary import View


def clips(first_seed: int) -> PhantomStoreConfig:
    return PhantomStoreConfig(
        first_seed=first_seed, patients=2, views=(View.A4C,), frames=2, labelled=2, native_size=96, size=IMAGE_SIZE
    )


def test_the_card_takes_over_what_all_held_back_frames_say(tmp_path: Path) -> None:
    start = save_set(build_tasks(), tmp_path / "set")
    recipe = ViewFromMasksRecipe(
        start=str(start), decoder=ViewFromMasksConfig(side=8, width=4), stores={"views": clips(0)},
        validation=clips(190_000), drawn=4, batch_size=1,
    )  # fmt: skip
    workspace = Workspace(tmp_path, 1, lambda what, done, total: None)
    torch.manual_seed(0)
    workload = recipe.build(workspace)
    recipe.export(workload.task, tmp_path / "outlined", PROVENANCE)
    reading = recipe.model_copy(update={"start": str(tmp_path / "outlined")})
    one_by_one = recalibrate(reading, workspace)
    together = recalibrate(reading.model_copy(update={"batch_size": 8}), workspace)
    assert one_by_one == pytest.approx(together, abs=1e-4), "however the frames are dealt out"
    place = tmp_path / "outlined" / "view_classification"
    write(place, one_by_one | {"view_temperature": 1.25})
    card = verify_bundle(place)
    assert card.calibration["temperature"] == 1.25
    write(place, one_by_one | {"view_temperature": 0.8})
    assert read_card(place).calibration["temperature"] == 1.0
    assert read_card(place).metrics["validation/view_temperature"] == 0.8
