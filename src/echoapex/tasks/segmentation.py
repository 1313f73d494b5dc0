"""Application 2: promptable segmentation of the chambers, automatic by structure name or guided by clicks and boxes.

Training simulates a person: clicks and boxes are drawn from the truth and from the errors of the automatic pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.data.batch import FrameBatch
from echoapex.losses.supervised import iou_loss, mask_loss
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.models.decoders.promptable import ImageEmbedding, MaskPrediction, PromptableDecoder
from echoapex.models.encoder import EncodedClip, Tokens, VisionTransformer, chunks
from echoapex.models.prompt_sampling import centre_point, correction_click, jittered_box
from echoapex.tasks.task import Cases, FrameTask, Loss
from echoapex.vocabulary import Structure

_NAME_PROBABILITY = 0.5
_KINDS = ("click", "box", "correction")
FrameMasks = tuple[int, np.ndarray, np.ndarray]
"""Frame number, probabilities (structures, size, size) in model pixels, predicted IoU (structures,)."""
_CLICK_IMAGES = 8
"""Images of a training batch that are also segmented interactively; the rest of the step is the automatic pass."""


def simulate_prompts(
    truth: Bool[Tensor, "images structures size size"],
    automatic_logits: Float[Tensor, "images structures half half"],
    known: Bool[Tensor, "images structures"],
) -> tuple[PromptBatch, Tensor, Bool[Tensor, "images 1"]]:
    """One prompt for one visible structure of every image.

    A third of the batches are clicks, a third boxes with jitter, a third the earlier (automatic) mask with a click on
    its largest error. Half of all prompts also say the structure's name. Random numbers come from torch.

    Returns:
        The prompts, the prompted structure (index from 0) per image, and whether the image shows any structure.
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
        It is what a person would do after seeing the result. Random numbers come from torch.
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


class SegmentationTask(FrameTask):
    """The promptable decoder, trained on the automatic pass and on simulated prompts in every step.

    Args:
        encoder: makes the tokens.
        decoder: makes the masks.
        blocks: the depths that the decoder reads.
        click_rounds: answers to each simulated prompt in a training step; from the second on the decoder sees its own
            earlier mask and one more click on its largest error. With one round it never sees a second click.
    """

    def __init__(
        self, encoder: VisionTransformer, decoder: PromptableDecoder, blocks: Sequence[int], click_rounds: int = 1
    ) -> None:
        super().__init__()
        self.click_rounds = click_rounds
        self.encoder = encoder
        self.decoder = decoder
        self.blocks = tuple(blocks)

    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """Mask and IoU loss of the automatic pass and of simulated prompts."""
        embedding = self.decoder.embed(tokens, images)
        truth = structure_masks(batch.labels)
        automatic = self.decoder(embedding, PromptBatch.of_structures(tuple(Structure), len(images)), joint=True)
        target = at_size(truth, automatic.logits.shape[-2:])
        mask = mask_loss(automatic.logits, target, batch.structure_known)
        iou = iou_loss(automatic.iou, automatic.logits, target, batch.structure_known)
        clicked, clicked_iou = self._interactive_loss(embedding, automatic, truth, batch)
        return Loss.sum_of(
            [("mask", 1.0, mask), ("iou", 0.1, iou), ("clicked_mask", 0.5, clicked), ("clicked_iou", 0.05, clicked_iou)]
        )

    def _interactive_loss(
        self,
        embedding: ImageEmbedding,
        automatic: MaskPrediction,
        truth: Bool[Tensor, "batch structures size size"],
        batch: FrameBatch,
    ) -> tuple[Tensor, Tensor]:
        """Loss of simulated prompts on some images: points, boxes, corrections of the automatic mask; then more clicks.

        The losses are means over the rounds.
        """
        rows = torch.arange(min(_CLICK_IMAGES, len(truth)), device=truth.device)
        prompts, structure, valid = simulate_prompts(
            truth[rows], automatic.logits[rows].detach(), batch.structure_known[rows]
        )
        seen, asked = _rows(embedding, rows), truth[rows, structure]
        prediction = self.decoder(seen, prompts)
        target = at_size(asked[:, None], prediction.logits.shape[-2:])
        answers = [prediction]
        for _ in range(self.click_rounds - 1):
            prompts = add_correction(prompts, asked, answers[-1].logits.detach(), valid)
            answers.append(self.decoder(seen, prompts))
        masks = [mask_loss(answer.logits, target, valid) for answer in answers]
        overlaps = [iou_loss(answer.iou, answer.logits, target, valid) for answer in answers]
        return torch.stack(masks).mean(), torch.stack(overlaps).mean()

    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """Dice of the automatic pass, per frame and structure; NaN if the frame does not show the structure."""
        prompts = PromptBatch.of_structures(tuple(Structure), len(images))
        prediction = self.decoder(self.decoder.embed(tokens, images), prompts, joint=True)
        found = enlarged(prediction.logits, batch.labels.shape[-2:]) > 0
        truth = structure_masks(batch.labels)
        shown = batch.structure_known & truth.any(dim=(-2, -1))
        overlap = (found & truth).sum(dim=(-2, -1))
        dice = 2 * overlap / (found.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))).clamp_min(1)
        return {"dice": torch.where(shown, dice, torch.nan)}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Mean Dice of every structure over the frames that show it."""
        dice = cases["dice"]
        shown = dice.isfinite()
        return {
            f"dice_{structure.key}": dice[shown[:, structure - 1], structure - 1].mean().item()
            for structure in Structure
            if shown[:, structure - 1].any()
        }

    @torch.inference_mode()
    def predict(
        self,
        encoded: EncodedClip,
        frames: Sequence[int],
        structures: Sequence[Structure],
        prompts: PromptBatch | None = None,
    ) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames; with ``prompts`` (one row per frame), the masks of these.

        In the automatic pass the names of all structures asked for go together, as in training.
        """
        size = encoded.pixels.shape[-1]
        done = 0
        for part in chunks(frames, 16):
            images, tokens = encoded.select(part)
            embedding = self.decoder.embed(tokens, images)
            if prompts is None:
                names = PromptBatch.of_structures(tuple(Structure), len(part), images.device)
                prediction = self.decoder(embedding, names, joint=True)
                columns = [structure - 1 for structure in structures]
            else:
                prediction = self.decoder(embedding, _prompt_rows(prompts, done, len(part)))
                columns = list(range(prompts.structures.shape[1]))
            done += len(part)
            probabilities = enlarged(prediction.logits[:, columns].float(), (size, size)).sigmoid().cpu().numpy()
            confidence = prediction.iou[:, columns].float().cpu().numpy()
            yield from zip(part, probabilities, confidence, strict=True)


def structure_masks(labels: Tensor) -> Bool[Tensor, "batch structures size size"]:
    """A label map as one mask per ``Structure``, in the order of their values."""
    values = torch.tensor([int(structure) for structure in Structure], device=labels.device)
    return labels[:, None] == values[None, :, None, None]


def at_size(masks: Bool[Tensor, "batch structures size size"], size: Sequence[int]) -> Float[Tensor, "b s h w"]:
    """The share of each coarser pixel that a mask covers: exact soft targets at the resolution of the decoder."""
    return nn.functional.interpolate(masks.float(), size=list(size), mode="area")


def enlarged(logits: Float[Tensor, "batch prompts h w"], size: Sequence[int]) -> Float[Tensor, "batch prompts H W"]:
    """Logits at model resolution; half-resolution pixel i lies at 2 i + 0.5, as bilinear enlargement assumes."""
    return nn.functional.interpolate(logits.float(), size=list(size), mode="bilinear", align_corners=False)


def _rows(embedding: ImageEmbedding, rows: Tensor) -> ImageEmbedding:
    fine = type(embedding.fine)(*(feature[rows] for feature in embedding.fine))
    return ImageEmbedding(embedding.patches[rows], embedding.grid, fine, embedding.image_size)


def _prompt_rows(prompts: PromptBatch, first: int, count: int) -> PromptBatch:
    rows = slice(first, first + count)
    masks = None if prompts.mask_logits is None else prompts.mask_logits[rows]
    return PromptBatch(prompts.structures[rows], prompts.points_xy[rows], prompts.point_labels[rows], masks)
