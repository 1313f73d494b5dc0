"""Every size and every task passes the same battery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tasks import BLOCKS, IMAGE_SIZE, TASK_NAMES, TinyTasks, batch_for, build_tasks, encoded_clip, save_set
from torch import Tensor

from echoapex.models.bundle import load_bundle
from echoapex.models.encoder import EncodedClip, EncoderSize
from echoapex.tasks.task import Task
from echoapex.tasks.trained_set import TrainedSet, load_models
from echoapex.vocabulary import Application, Structure, View

SIZES: tuple[EncoderSize, ...] = ("tiny", "small")
FOR_PRETRAINING_ONLY = {"encoder.mask_token"}
"""Hides patches in masked pretraining; no supervised task hides any."""
LABELS = {
    Application.VIEW_CLASSIFICATION: len(View),
    Application.SEGMENTATION: len(Structure),
    Application.LV_WALL: 0,
    Application.EJECTION_FRACTION: 0,
}


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> EncoderSize:
    chosen: EncoderSize = request.param
    return chosen


@pytest.fixture(scope="module")
def tasks(size: EncoderSize) -> TinyTasks:
    """With weights that half precision holds exactly, so that a saved set must answer bit for bit the same."""
    tasks = build_tasks(size, drop_path=0.1)
    for task in (tasks.multitask, tasks.ejection_fraction):
        task.load_state_dict({key: value.half().float() for key, value in task.state_dict().items()})
    return tasks


@pytest.fixture(params=TASK_NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture()
def task(tasks: TinyTasks, name: str) -> Iterator[Task]:
    """The task, ready to learn and without gradients."""
    task = tasks.by_name[name].train()
    task.zero_grad(set_to_none=True)
    yield task
    task.zero_grad(set_to_none=True)


def learn(task: Task, name: str, size: EncoderSize, seed: int) -> float:
    """One forward and backward pass."""
    torch.manual_seed(seed)
    loss = task.loss(batch_for(name, size, seed=seed % 2))
    loss.total.backward()
    assert all(term.isfinite() for term in loss.terms.values())
    return loss.total.item()


def gradients(task: Task) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in task.named_parameters() if p.requires_grad}


def test_the_loss_is_finite_and_gradients_reach_every_trainable_parameter(
    task: Task, name: str, size: EncoderSize
) -> None:
    silent: set[str] = set()
    for seed in range(12):  # clicks, boxes and corrections come by chance, and each has parameters of its own
        assert np.isfinite(learn(task, name, size, seed))
        found = gradients(task)
        assert all(gradient is None or gradient.isfinite().all() for gradient in found.values())
        silent = {key for key, gradient in found.items() if gradient is None or not gradient.any()}
        if silent <= FOR_PRETRAINING_ONLY:
            break
    assert silent <= FOR_PRETRAINING_ONLY


def test_the_same_seed_gives_the_same_loss_and_gradients(task: Task, name: str, size: EncoderSize) -> None:
    first_loss = learn(task, name, size, seed=3)
    first = {key: gradient.clone() for key, gradient in gradients(task).items() if gradient is not None}
    task.zero_grad(set_to_none=True)
    assert learn(task, name, size, seed=3) == first_loss
    assert all(torch.equal(first[key], g) for key, g in gradients(task).items() if g is not None)


def test_the_same_seed_builds_the_same_weights(tasks: TinyTasks, size: EncoderSize) -> None:
    again = build_tasks(size, drop_path=0.1)
    for name, task in tasks.by_name.items():
        built = task.state_dict()
        for key, value in again.by_name[name].state_dict().items():
            assert torch.equal(built[key], value.half().float()), f"{name}: {key}"


def test_scores_are_finite_and_repeat(task: Task, name: str, size: EncoderSize) -> None:
    task.eval()
    scores = task.score(batch_for(name, size))
    assert scores
    assert np.isfinite(list(scores.values())).all()
    assert task.score(batch_for(name, size)) == scores


@pytest.fixture(scope="module")
def saved(tasks: TinyTasks, size: EncoderSize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_set(tasks, tmp_path_factory.mktemp("set") / size, size)


@pytest.fixture(scope="module")
def models(saved: Path) -> TrainedSet:
    return load_models(saved)


@pytest.fixture(scope="module")
def clip(tasks: TinyTasks) -> EncodedClip:
    tasks.multitask.eval()
    tasks.ejection_fraction.eval()
    return encoded_clip(tasks, frames=3)


@pytest.mark.parametrize("application", Application)
def test_a_saved_task_answers_as_before(
    application: Application, tasks: TinyTasks, models: TrainedSet, clip: EncodedClip
) -> None:
    before, after = tasks.by_name[application.value].eval(), getattr(models, application.value)
    first, second = answer(before, application, clip), answer(after, application, clip)
    assert first.size
    assert np.array_equal(first, second)


def answer(task: Task, application: Application, clip: EncodedClip) -> np.ndarray:
    """Everything that a task predicts of a clip, as one array."""
    if application is Application.VIEW_CLASSIFICATION:
        return np.array(list(task.predict(clip).probabilities.values()))
    if application is Application.EJECTION_FRACTION:
        found = task.predict(clip)
        return np.array([found.ef_percent, *found.interval, *found.relative_volume])
    frames = [0, 2]
    found = (
        task.predict(clip, frames, tuple(Structure))
        if application is Application.SEGMENTATION
        else task.predict(clip, frames)
    )
    return np.concatenate([np.concatenate([values.ravel(), sure.ravel()]) for _, values, sure in found])


@pytest.mark.parametrize("application", Application)
def test_the_card_agrees_with_the_model(
    application: Application, tasks: TinyTasks, saved: Path, models: TrainedSet, size: EncoderSize
) -> None:
    bundle, encoder = load_bundle(saved / application.value), load_bundle(saved / "encoder")
    decoder = tasks.by_name[application.value].decoder
    model = models.encoders[application]
    assert bundle.card.task == application.value
    assert bundle.card.architecture["decoder"] == decoder.config.model_dump(mode="json")
    assert len(bundle.card.label_order) == LABELS[application]
    assert bundle.card.base_encoder_sha256 == encoder.digest
    assert encoder.card.architecture == model.encoder.config.model_dump(mode="json")
    assert (model.encoder.config.size, model.input_size) == (size, IMAGE_SIZE)
    assert model.blocks == (BLOCKS[-1:] if application is Application.EJECTION_FRACTION else BLOCKS)
    shapes = {key: tuple(value.shape) for key, value in decoder.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in bundle.state.items()} == shapes
