"""Wall points are learned from frames that carry them, scored in pixels, and predicted frame by frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_tasks import TinyTasks, build_tasks, frame_batch

from echoapex.models.encoder import EncodedClip
from echoapex.tasks.lv_wall import take


def test_only_frames_with_walls_count(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.wall, frame_batch(4)
    assert batch.has_walls.tolist() == [False, True, False, True]
    nonsense = batch.wall_points.clone()
    nonsense[~batch.has_walls] = 1e6
    assert task.loss(replace(batch, wall_points=nonsense)).total.item() == task.loss(batch).total.item() > 0


def test_a_batch_without_walls_has_a_gradient_of_zero() -> None:
    task = build_tasks().multitask.wall
    loss = task.loss(frame_batch(2, with_walls=False))
    assert loss.total.item() == 0
    loss.total.backward()
    assert not any(p.grad is not None and p.grad.any() for p in task.parameters())
    assert task.score(frame_batch(2, with_walls=False)) == {}


def test_score_measures_points_and_thicknesses_in_pixels(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = tasks.multitask.wall, frame_batch(4)
    truth = batch.wall_points[batch.has_walls]
    found = truth + torch.tensor([[0.0, -3.0], [0.0, 1.0], [0.0, 0.0], [0.0, 4.0]])
    monkeypatch.setattr(task.decoder, "points", lambda heatmaps: (found, torch.ones(2, 4)))
    scores = task.score(batch)
    assert scores["wall_point_px"] == pytest.approx(2.0)
    assert (scores["ivs_px"], scores["lvid_px"], scores["lvpw_px"]) == pytest.approx((4.0, 1.0, 4.0), abs=1e-4)


def test_frames_are_answered_in_the_order_asked_for(tasks: TinyTasks, encoded: EncodedClip) -> None:
    answers = tasks.multitask.wall.predict(encoded, [3, 0])
    assert [frame for frame, _, _ in answers] == [3, 0]
    for frame, points, confidence in answers:
        assert points.shape == (4, 2)
        assert ((points > -0.5) & (points < 63.5)).all()
        assert ((confidence >= 0) & (confidence <= 1)).all()
        ((_, alone, _),) = tasks.multitask.wall.predict(encoded, [frame])
        assert np.allclose(points, alone, atol=1e-2)


def test_no_frame_no_answer(tasks: TinyTasks, encoded: EncodedClip) -> None:
    assert tasks.multitask.wall.predict(encoded, []) == []


def test_taking_rows_keeps_the_grid(tasks: TinyTasks, encoded: EncodedClip) -> None:
    rows = take(encoded.tokens[0], torch.tensor([2, 4]))
    assert rows.grid == (4, 4)
    assert torch.equal(rows.patches, encoded.tokens[0].patches[[2, 4]])
