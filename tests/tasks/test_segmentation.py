"""Masks by name and by prompt: right targets, right columns, right rows, and what is unknown does not count."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_tasks import IMAGE_SIZE, TinyTasks, encoded_clip, frame_batch

from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.models.decoders.promptable import MaskPrediction
from echoapex.models.encoder import EncodedClip
from echoapex.tasks.segmentation import at_size, enlarged, structure_masks
from echoapex.vocabulary import Structure

HALF = IMAGE_SIZE // 2


def test_a_label_map_is_one_mask_per_structure() -> None:
    labels = torch.tensor([[[0, 1], [6, 1]]], dtype=torch.uint8)
    masks = structure_masks(labels)
    assert masks.shape == (1, 6, 2, 2)
    assert masks[0, 0].tolist() == [[False, True], [False, True]]
    assert masks[0, 5].tolist() == [[False, False], [True, False]]
    assert not masks[0, 1:5].any()


def test_a_coarse_target_is_the_share_that_a_mask_covers() -> None:
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :3, :1] = True
    coarse = at_size(mask, (2, 2))
    assert coarse.tolist() == [[[[0.5, 0.0], [0.25, 0.0]]]]
    assert coarse.sum() * 4 == mask.sum(), "areas are kept"


def test_enlarging_puts_half_resolution_pixels_where_they_lie() -> None:
    ramp = (2.0 * torch.arange(HALF) + 0.5).expand(1, 1, HALF, -1)
    full = enlarged(ramp, (IMAGE_SIZE, IMAGE_SIZE))
    assert torch.allclose(full[0, 0, 0, 1:-1], torch.arange(IMAGE_SIZE)[1:-1].float(), atol=1e-4)


def test_structures_that_were_never_drawn_do_not_count(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.segmentation, frame_batch(4)
    assert not batch.structure_known[:, Structure.AORTIC_ROOT - 1].any()
    scribbled = batch.labels.clone()
    scribbled[(scribbled == 0)] = int(Structure.AORTIC_ROOT)
    losses = []
    for labels in (batch.labels, scribbled):
        torch.manual_seed(3)
        losses.append(task.loss(replace(batch, labels=labels)))
    assert losses[0].total.item() == pytest.approx(losses[1].total.item(), rel=1e-5)
    nothing = replace(batch, structure_known=torch.zeros_like(batch.structure_known))
    assert task.loss(nothing).total.item() == 0
    assert task.score(nothing) == {}


def test_score_is_the_dice_of_each_structure_that_is_shown(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = tasks.multitask.segmentation, frame_batch(2)
    truth = structure_masks(batch.labels)
    answer = truth.clone()
    answer[:, Structure.LEFT_ATRIUM - 1] = False
    answer[:, Structure.LV_CAVITY - 1] |= answer[:, Structure.LV_MYOCARDIUM - 1]
    logits = torch.where(answer, 5.0, -5.0)
    monkeypatch.setattr(
        task.decoder, "forward", lambda embedding, prompts, joint: MaskPrediction(logits, torch.ones(2, 6))
    )
    scores = task.score(batch)
    assert set(scores) == {"dice_lv_cavity", "dice_lv_myocardium", "dice_left_atrium"}
    assert scores["dice_lv_myocardium"] == 1
    assert scores["dice_left_atrium"] == 0
    cavity, wall = truth[:, 0].sum((1, 2)), truth[:, 1].sum((1, 2))
    assert scores["dice_lv_cavity"] == pytest.approx((2 * cavity / (2 * cavity + wall)).mean().item())


def test_named_structures_come_in_the_order_asked_for(tasks: TinyTasks, encoded: EncodedClip) -> None:
    task = tasks.multitask.segmentation
    every = {frame: masks for frame, masks, _ in task.predict(encoded, [1, 4], tuple(Structure))}
    assert list(every) == [1, 4]
    assert every[1].shape == (6, IMAGE_SIZE, IMAGE_SIZE)
    assert ((every[1] >= 0) & (every[1] <= 1)).all()
    wanted = (Structure.LEFT_ATRIUM, Structure.LV_CAVITY)
    for frame, masks, confidence in task.predict(encoded, [1, 4], wanted):
        assert np.array_equal(masks, every[frame][[2, 0]])
        assert confidence.shape == (2,)
        assert ((confidence >= 0) & (confidence <= 1)).all()


def test_long_clips_are_segmented_in_parts_without_seams(tasks: TinyTasks) -> None:
    task, long = tasks.multitask.segmentation, encoded_clip(tasks, frames=18)
    answers = list(task.predict(long, range(18), (Structure.LV_CAVITY,)))
    assert [frame for frame, _, _ in answers] == list(range(18))
    for frame in (15, 16, 17):
        ((_, alone, _),) = task.predict(long, [frame], (Structure.LV_CAVITY,))
        assert np.allclose(answers[frame][1], alone, atol=1e-4)


def clicks(rows: int) -> PromptBatch:
    """One positive click per frame, each in another place."""
    places = torch.stack([torch.tensor([8.0 + 3 * row, 20.0]) for row in range(rows)])
    return PromptBatch(
        torch.full((rows, 1), NO_STRUCTURE),
        places[:, None, None],
        torch.full((rows, 1, 1), int(PointLabel.POSITIVE)),
        torch.linspace(-3, 3, rows)[:, None, None, None].expand(rows, 1, HALF, HALF),
    )


def test_every_frame_gets_the_answer_to_its_own_prompt(tasks: TinyTasks) -> None:
    task, long = tasks.multitask.segmentation, encoded_clip(tasks, frames=18)
    prompts = clicks(18)
    answers = list(task.predict(long, range(18), (), prompts))
    assert answers[0][1].shape == (1, IMAGE_SIZE, IMAGE_SIZE)
    for frame in (0, 15, 17):
        mine = PromptBatch(
            prompts.structures[[frame]],
            prompts.points_xy[[frame]],
            prompts.point_labels[[frame]],
            prompts.mask_logits[[frame]],
        )
        ((_, alone, _),) = task.predict(long, [frame], (), mine)
        assert np.allclose(answers[frame][1], alone, atol=1e-4)
    assert not np.allclose(answers[0][1], answers[17][1], atol=1e-3)


def test_click_rounds_teach_from_the_decoders_own_answers(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = tasks.multitask.segmentation, frame_batch(4)
    asked: list[PromptBatch] = []
    decode = task.decoder.forward

    def listen(embedding: object, prompts: PromptBatch, joint: bool = False) -> MaskPrediction:
        prediction = decode(embedding, prompts, joint)  # type: ignore[arg-type]
        if not joint:
            asked.append(prompts)
            answers.append(prediction.logits)
        return prediction

    answers: list[torch.Tensor] = []
    monkeypatch.setattr(task.decoder, "forward", listen)
    monkeypatch.setattr(task, "click_rounds", 3)
    torch.manual_seed(5)
    several = task.loss(batch)
    assert [prompts.points_xy.shape[2] for prompts in asked] == [2, 3, 4]
    for earlier, prompts in zip(answers, asked[1:], strict=False):
        assert torch.equal(prompts.mask_logits, earlier)
        assert not prompts.mask_logits.requires_grad
    monkeypatch.setattr(task, "click_rounds", 1)
    asked.clear()
    torch.manual_seed(5)
    single = task.loss(batch)
    assert len(asked) == 1
    assert several.terms["mask"] == single.terms["mask"], "the automatic pass is the same"
    assert several.terms["clicked_mask"] != single.terms["clicked_mask"]


def test_each_term_counts_by_its_weight(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The overlap is learnt too, from the automatic pass and from prompts."""
    task, batch = tasks.multitask.segmentation, frame_batch(4)
    loss = task.loss(batch)
    weights = {"mask": 1.0, "iou": 0.1, "clicked_mask": 0.5, "clicked_iou": 0.05}
    assert set(loss.terms) == set(weights)
    assert all(term > 0 for term in loss.terms.values())
    expected = sum(weight * loss.terms[name].item() for name, weight in weights.items())
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_what_predicts_the_overlap_learns(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.segmentation, frame_batch(4)
    task.zero_grad()
    known = task.loss(batch)
    known.total.backward()
    learning = [name for name, value in task.decoder.named_parameters() if "iou" in name and value.grad is not None]
    assert learning
    assert all(task.decoder.get_parameter(name).grad.abs().sum() > 0 for name in learning if name.endswith("bias"))
    task.zero_grad()


def test_a_structure_that_was_drawn_on_some_frames_only_is_scored_on_those(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.segmentation, frame_batch(4)
    column = Structure.LV_CAVITY - 1
    shown = structure_masks(batch.labels)[:, column].any(dim=(-2, -1))
    assert shown.any()
    unknown = batch.structure_known.clone()
    unknown[:, column] = False
    assert "dice_lv_cavity" in task.score(batch)
    assert "dice_lv_cavity" not in task.score(replace(batch, structure_known=unknown))
