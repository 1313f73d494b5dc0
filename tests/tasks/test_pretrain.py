"""The task of pretraining: the teacher only follows, masked patches stay masked, and a tiny run learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_pretraining import build_pretrain, crop_source

from echoapex.data.batch import CropBatch, ProbeBatch
from echoapex.losses.self_distillation import dino_loss, koleo_loss, sinkhorn_assignments
from echoapex.models.encoder import EncoderConfig, standardise
from echoapex.tasks.pretrain import Pretrain


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> CropBatch:
    return crop_source(tmp_path_factory.mktemp("crops")).batch(0)


def step(task: Pretrain, batch: CropBatch, number: int, optimizer: torch.optim.Optimizer) -> float:
    loss = task.loss(batch)
    optimizer.zero_grad()
    loss.total.backward()
    optimizer.step()
    task.after_step(number)
    return float(loss.total.detach())


def test_the_teacher_starts_as_the_student_and_is_not_trained(batch: CropBatch) -> None:
    task = build_pretrain()
    for own, followed in zip(task.teacher.parameters(), task.student.parameters(), strict=True):
        assert torch.equal(own, followed)
    trained = {id(p) for group in task.parameter_groups() for p in group.parameters}
    assert trained == {id(p) for p in task.student.parameters()}
    task.loss(batch).total.backward()
    assert all(parameter.grad is None for parameter in task.teacher.parameters())
    assert not task.teacher.training
    assert task.student.training


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    task = build_pretrain()
    before = [p.clone() for p in task.teacher.parameters()]
    with torch.no_grad():
        for parameter in task.student.parameters():
            parameter.add_(1.0)
    task.after_step(7)
    momentum = task.schedule.momentum_at(7)
    for old, new, student in zip(before, task.teacher.parameters(), task.student.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * student)
    assert int(task.updates) == 8


def test_every_student_weight_learns_once_the_prototypes_are_free(batch: CropBatch) -> None:
    task = build_pretrain()
    names = {"student.class_head.prototypes", "student.patch_head.prototypes"}
    for update in (0, 2):
        task.zero_grad()
        task.updates.fill_(update)
        task.loss(batch).total.backward()
        idle = {name for name, p in task.student.named_parameters(prefix="student") if p.grad is None}
        assert idle == (names if update == 0 else set())


def test_the_class_term_is_dino_over_teacher_and_student(batch: CropBatch) -> None:
    task = build_pretrain().eval()
    task.updates.fill_(9)
    large, small = standardise(batch.global_crops.flatten(0, 1)), standardise(batch.local_crops.flatten(0, 1))
    with torch.no_grad():
        masked = batch.masked.flatten(0, 1)
        tokens = [task.student.encoder(large, masked).class_token, task.student.encoder(small).class_token]
        logits = task.student.class_head(torch.cat(tokens)).reshape(4, 4, -1)
        targets = sinkhorn_assignments(task.teacher.class_head(task.teacher.encoder(large).class_token), 0.07)
        expected = dino_loss(logits, targets.reshape(2, 4, -1), 0.1)
        torch.testing.assert_close(task.loss(batch).terms["dino"], expected)


def test_koleo_is_the_mean_over_both_global_crops(batch: CropBatch) -> None:
    task = build_pretrain().eval()
    masked = batch.masked.flatten(0, 1)
    with torch.no_grad():
        tokens = task.student.encoder(standardise(batch.global_crops.flatten(0, 1)), masked).class_token
        frames = batch.global_crops.shape[1]
        first, second = koleo_loss(tokens[:frames]), koleo_loss(tokens[frames:])
        assert abs(first - second) > 1e-6
        loss = task.loss(batch)
    torch.testing.assert_close(loss.terms["koleo"], (first + second) / 2)
    weights = task.weights
    parts = zip((weights.dino, weights.ibot, weights.koleo), ("dino", "ibot", "koleo"), strict=True)
    torch.testing.assert_close(loss.total, sum(weight * loss.terms[name] for weight, name in parts))


def test_what_lies_under_a_masked_patch_reaches_the_teacher_only(batch: CropBatch) -> None:
    task = build_pretrain().eval()
    masked = torch.zeros_like(batch.masked)
    masked[:, :, 4] = True
    pixels = batch.global_crops.clone()
    pixels[..., 16:32, 16:32] = pixels[..., 16:32, 16:32].flip(-1)  # patch 4 of 3 x 3, same mean and variance
    with torch.no_grad():
        flat = masked.flatten(0, 1)
        seen = [task.student.encoder(standardise(p.flatten(0, 1)), flat).patches for p in (batch.global_crops, pixels)]
        taught = [task.teacher.encoder(standardise(p.flatten(0, 1))).patches for p in (batch.global_crops, pixels)]
    torch.testing.assert_close(seen[0], seen[1])
    assert not torch.allclose(taught[0], taught[1])


def test_nothing_masked_and_no_local_crops_still_give_a_loss(batch: CropBatch) -> None:
    task = build_pretrain()
    bare = replace(batch, masked=torch.zeros_like(batch.masked), local_crops=batch.local_crops[:0])
    for precision in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", dtype=precision, enabled=precision is torch.bfloat16):
            loss = task.loss(bare)
        loss.total.backward()
        assert loss.total.isfinite()
        assert loss.terms["ibot"] == 0


def test_frames_of_one_batch_are_told_apart_better_than_by_no_opinion(batch: CropBatch) -> None:
    """No opinion costs the logarithm of the prototypes; a network that collapses stays there."""
    encoder = EncoderConfig(image_size=48, layer_scale=1.0)
    task = build_pretrain(encoder=encoder, schedule={"steps": 2000, "momentum": 0.99, "final_temperature": 0.04})
    optimizer = torch.optim.AdamW([p for g in task.parameter_groups() for p in g.parameters], lr=1e-3)
    for number in range(60):
        step(task, batch, number, optimizer)
    terms = task.loss(batch).terms
    no_opinion = math.log(task.student.class_head.config.prototypes)
    assert terms["dino"] < 0.95 * no_opinion
    masked = batch.masked.any(dim=-1).float().mean()
    assert terms["ibot"] < 0.8 * no_opinion * masked


def test_health_is_scored_on_the_teacher() -> None:
    task = build_pretrain().eval()
    pixels = torch.randint(0, 255, (12, 48, 48), dtype=torch.uint8)
    probes = ProbeBatch(pixels, torch.arange(12) % 3, torch.arange(12) // 3)
    figures = task.score(probes)
    expected = {
        "effective_rank",
        "prototype_entropy",
        "assignment_entropy",
        "knn_view_accuracy",
        "linear_view_accuracy",
    }
    assert set(figures) == expected
    assert 1 < figures["effective_rank"] <= 11
    assert all(0 <= figures[name] <= 1 for name in figures if name != "effective_rank")
    with torch.no_grad():
        for parameter in task.student.parameters():
            parameter.zero_()
    assert task.score(probes) == figures
    unknown = task.score(replace(probes, view=torch.full((12,), -1)))
    assert "knn_view_accuracy" not in unknown
    same = ProbeBatch(pixels[:1].expand(12, -1, -1), probes.view, probes.clip)
    assert task.score(same)["effective_rank"] < 0.01 * figures["effective_rank"] + 0.1
