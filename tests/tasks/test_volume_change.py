"""The encoder learns to keep how full the ventricle is."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import TinyTasks, frame_batch

from echoapex.data.batch import FrameBatch
from echoapex.recipes.multitask import LossWeights, MultiTask
from echoapex.tasks.ejection_fraction import VolumeChange
from echoapex.vocabulary import Structure


def pairs() -> FrameBatch:
    volume = torch.tensor([1.0, 0.4, 1.0, 0.7])
    return replace(frame_batch(4), clip=torch.tensor([0, 0, 1, 1]), relative_volume=volume)


def test_it_learns_and_teaches_the_encoder(tasks: TinyTasks) -> None:
    torch.manual_seed(0)
    together = tasks.multitask
    task, batch = VolumeChange(together.encoder, together.blocks), pairs()
    optimiser = torch.optim.AdamW(task.parameters(), lr=3e-3)
    before = task.score(batch)["volume_change_error"]
    for _ in range(12):
        optimiser.zero_grad()
        task.loss(batch).total.backward()
        optimiser.step()
    assert together.encoder.patch_embedding.weight.grad is not None
    assert task.score(batch)["volume_change_error"] < 0.5 * before


def test_a_ventricle_out_of_sight_is_not_judged(tasks: TinyTasks) -> None:
    task, batch = VolumeChange(tasks.multitask.encoder, tasks.multitask.blocks), pairs()
    without = torch.where(batch.labels == int(Structure.LV_CAVITY), 0, batch.labels)
    assert task.score(batch)["volume_change_error"] > 0
    assert task.score(replace(batch, labels=without))["volume_change_error"] == 0


def test_it_joins_the_others(tasks: TinyTasks) -> None:
    alone, batch = tasks.multitask, pairs()
    volume = VolumeChange(alone.encoder, alone.blocks)
    together = MultiTask(alone.view, alone.segmentation, alone.wall, LossWeights(volume=0.5), volume)
    torch.manual_seed(1)
    loss = together.loss(batch)
    torch.manual_seed(1)
    rest = alone.loss(batch)
    expected = rest.total.item() + 0.5 * volume.loss(batch).total.item()
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)
    assert loss.terms.keys() - rest.terms.keys() == {"volume"}
    assert "volume_change_error" in together.score(batch)
