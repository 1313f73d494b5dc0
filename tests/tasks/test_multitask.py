"""One encoder, three decoders: encoded once, added up."""

import pytest
import torch
from tiny_tasks import TinyTasks, build_tasks, frame_batch

from echoapex.recipes.multitask import LossWeights, MultiTask


def test_tasks_of_different_encoders_are_refused(tasks: TinyTasks) -> None:
    other = build_tasks(seed=1).multitask
    with pytest.raises(ValueError, match="share one encoder"):
        MultiTask(tasks.multitask.view, other.segmentation, tasks.multitask.wall, LossWeights())


def test_the_loss_is_the_weighted_sum_of_the_three(tasks: TinyTasks) -> None:
    together, batch = tasks.multitask, frame_batch(4)
    torch.manual_seed(5)
    loss = together.loss(batch)
    torch.manual_seed(5)
    parts = [task.loss(batch) for task in (together.view, together.segmentation, together.wall)]
    expected = sum(weight * part.total for weight, part in zip((1.0, 2.0, 0.2), parts, strict=True))
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(loss.terms) == {"view", "mask", "iou", "clicked_mask", "clicked_iou", "wall"}


def test_frames_are_encoded_once(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, calls = tasks.multitask.encoder, []
    encode = encoder.forward_blocks
    monkeypatch.setattr(encoder, "forward_blocks", lambda *given: calls.append(1) or encode(*given))
    tasks.multitask.loss(frame_batch(2))
    assert len(calls) == 1
    tasks.multitask.score(frame_batch(2))
    assert len(calls) == 2


def test_scores_are_those_of_all_three(tasks: TinyTasks) -> None:
    batch = frame_batch(4)
    parts = (tasks.multitask.view, tasks.multitask.segmentation, tasks.multitask.wall)
    expected = {name: value for task in parts for name, value in task.score(batch).items()}
    assert tasks.multitask.score(batch) == pytest.approx(expected, abs=1e-4)
    assert {"view_frame_accuracy", "dice_lv_cavity", "wall_point_px"} <= set(expected)


def test_shared_parameters_are_trained_once(tasks: TinyTasks) -> None:
    names = [name for name, _ in tasks.multitask.named_parameters() if "patch_embedding.weight" in name]
    assert names == ["encoder.patch_embedding.weight"]
