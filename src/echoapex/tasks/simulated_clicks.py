"""Prompts as a person would give them, drawn from the truth and from what the automatic pass got wrong."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.models.decoders.prompt_batch import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.models.prompt_sampling import centre_point, correction_click, jittered_box

_NAME_PROBABILITY = 0.5
_KINDS = ("click", "box", "correction")


def simulate_prompts(
    truth: Bool[Tensor, "images structures size size"],
    automatic_logits: Float[Tensor, "images structures half half"],
    known: Bool[Tensor, "images structures"],
) -> tuple[PromptBatch, Tensor, Bool[Tensor, "images 1"]]:
    """One prompt for one visible structure of every image.

    A third of the batches are clicks, a third boxes with jitter, a third the earlier (automatic) mask with a click on
    its largest error. Half of all prompts also say the structure's name. Random numbers come from torch.

    Returns:
        The prompts, the structure asked for (index from 0) per image, and whether the image shows any structure.
    """
    images, _, size, _ = truth.shape
    rng = np.random.default_rng(int(torch.randint(0, 2**31, ())))
    kind = _KINDS[int(rng.integers(len(_KINDS)))]
    visible = known & truth.any(dim=(-2, -1))
    valid = visible.any(dim=1)
    structure = torch.multinomial(visible.float() + (~valid)[:, None].float(), 1)[:, 0]
    each = torch.arange(images, device=truth.device)
    earlier = automatic_logits[each, structure]
    guess = nn.functional.interpolate(earlier[:, None].float(), size=(size, size), mode="bilinear")[:, 0] > 0
    points = np.zeros((images, 1, 2, 2), np.float32)
    labels = np.full((images, 1, 2), int(PointLabel.PADDING))
    for image in torch.nonzero(valid)[:, 0].tolist():
        target = truth[image, structure[image]].cpu().numpy()
        points[image, 0], labels[image, 0] = _points_of(kind, target, guess[image].cpu().numpy(), rng)
    named = torch.from_numpy(rng.random(images) < _NAME_PROBABILITY).to(truth.device)
    names = torch.where(named, structure + 1, NO_STRUCTURE)[:, None]
    masks = earlier[:, None] if kind == "correction" else None
    placed = torch.from_numpy(points).to(truth.device), torch.from_numpy(labels).to(truth.device)
    return PromptBatch(names, *placed, masks), structure, valid[:, None]


def add_correction(
    prompts: PromptBatch,
    truth: Bool[Tensor, "images size size"],
    answer: Float[Tensor, "images 1 half half"],
    valid: Bool[Tensor, "images 1"],
) -> PromptBatch:
    """The next round: the same prompts, one more click on the largest error of the answer, and the answer itself.

    Args:
        prompts: of the round before, one per image.
        truth: the mask that each image was asked for.
        answer: logits of the round before, without gradient.
        valid: images that were asked for anything; others, and those without error, get a padding point.

    Returns:
        What a person says after having seen the answer. Random numbers come from torch.
    """
    rng = np.random.default_rng(int(torch.randint(0, 2**31, ())))
    size = truth.shape[-2:]
    found = nn.functional.interpolate(answer.float(), size=list(size), mode="bilinear")[:, 0] > 0
    points = np.zeros((len(truth), 1, 1, 2), np.float32)
    labels = np.full((len(truth), 1, 1), int(PointLabel.PADDING))
    for image in torch.nonzero(valid[:, 0])[:, 0].tolist():
        click = correction_click(truth[image].cpu().numpy(), found[image].cpu().numpy(), rng)
        if click is not None:
            points[image], labels[image] = (click.x, click.y), int(click.positive)
    more = prompts.with_points(torch.from_numpy(points).to(truth.device), torch.from_numpy(labels).to(truth.device))
    return more.with_masks(answer)


def _points_of(
    kind: str, target: np.ndarray, guess: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int]]:
    """Two points (2, 2) and their labels; a click comes with a padding point."""
    if kind == "box":
        corners = np.asarray(jittered_box(target, rng), np.float32).reshape(2, 2)
        return corners, (PointLabel.BOX_FIRST_CORNER, PointLabel.BOX_LAST_CORNER)
    click = correction_click(target, guess, rng) if kind == "correction" else None
    if click is None:
        x, y = centre_point(target, rng)
        return np.array([[x, y], [0, 0]], np.float32), (PointLabel.POSITIVE, PointLabel.PADDING)
    label = PointLabel.POSITIVE if click.positive else PointLabel.NEGATIVE
    return np.array([[click.x, click.y], [0, 0]], np.float32), (label, PointLabel.PADDING)
