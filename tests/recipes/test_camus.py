"""The recipe on CAMUS: starts from given weights, the encoder learns more slowly, nobody both teaches and judges."""

from pathlib import Path

import pytest
import torch
from tiny_camus import write_tiny_camus
from tiny_tasks import IMAGE_SIZE, PROVENANCE, TinyTasks

from echoapex.data.datasets.camus import CamusError
from echoapex.data.frame_source import FrameSourceConfig
from echoapex.models.bundle import load_bundle
from echoapex.recipes.camus import CamusRecipe
from echoapex.recipes.recipe import Workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_camus(tmp_path_factory.mktemp("camus"), training=4)


def recipe_on(root: Path, saved_set: Path, **changes: object) -> CamusRecipe:
    values = {
        "root": root,
        "encoder_bundle": saved_set / "encoder",
        "decoder_bundle": saved_set / "segmentation",
        "held_back": 1,
        "store_size": IMAGE_SIZE,
        "frames": FrameSourceConfig(batch_size=4, sizes=((0, IMAGE_SIZE),)),
    }
    return CamusRecipe(**{**values, **changes})


def test_training_starts_from_the_given_weights(tasks: TinyTasks, root: Path, saved_set: Path) -> None:
    task = recipe_on(root, saved_set).build_task()
    started = task.state_dict()
    for name, value in tasks.multitask.segmentation.state_dict().items():
        assert torch.equal(started[name], value.half().float()), name
    assert all(parameter.requires_grad for parameter in task.parameters())
    fresh = recipe_on(root, saved_set, decoder_bundle=None).build_task()
    assert fresh.decoder.config == CamusRecipe.model_fields["decoder"].default


def test_the_encoder_learns_more_slowly(root: Path, saved_set: Path) -> None:
    task = recipe_on(root, saved_set, encoder_learning_rate_factor=0.25).build_task()
    encoder = {id(parameter) for parameter in task.encoder.parameters()}
    seen = []
    for group in task.parameter_groups():
        seen += [id(parameter) for parameter in group.parameters]
        expected = {True: 0.25, False: 1.0}
        assert all(expected[id(p) in encoder] == group.learning_rate_factor for p in group.parameters)
    assert len(seen) == len(set(seen))
    assert set(seen) == {id(parameter) for parameter in task.parameters()}


def test_nobody_both_teaches_and_judges(root: Path, saved_set: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, 1, lambda what, done, total: None)
    workload = recipe_on(root, saved_set).build(workspace)
    taught = {int(p) for store, _ in workload.batches._examples for p in store.truth["patient"]}
    judged = {int(p) for p in workload.validation._store.truth["patient"]}
    assert (taught, judged) == ({1, 2, 3}, {4})
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()
    assert "dice_lv_cavity" in workload.task.score(workload.validation.batch(0))


@pytest.mark.parametrize(("changes", "left"), [({"held_back": 4}, 0), ({"held_back": 2, "patients": 3}, 2)])
def test_too_few_patients_are_said_so(
    root: Path, saved_set: Path, tmp_path: Path, changes: dict[str, int], left: int
) -> None:
    with pytest.raises(CamusError, match=f"of 4 training patients {left} are left to train on"):
        recipe_on(root, saved_set, **changes).build(Workspace(tmp_path, 1, lambda what, done, total: None))


def test_the_bundles_say_where_they_come_from(root: Path, saved_set: Path, tmp_path: Path) -> None:
    recipe = recipe_on(root, saved_set)
    task = recipe.build_task()
    recipe.export(task, tmp_path, PROVENANCE.model_copy(update={"non_commercial": True}))
    encoder, decoder = load_bundle(tmp_path / "encoder"), load_bundle(tmp_path / "segmentation")
    decoder.require_encoder(encoder)
    assert decoder.card.architecture["decoder"] == task.decoder.config.model_dump(mode="json")
    assert encoder.card.non_commercial
    assert "went on from tiny 0.1.0" in decoder.card.notes
