"""Interactive segmentation: encode a frame once, then answer clicks, boxes, earlier masks and names in its own pixels.

``refinement`` says what becomes of the answer to clicks on an earlier mask: ``merged`` puts it into that mask by
rules (see :func:`merge_correction`); ``decoder`` returns the bare answer of the decoder; ``brush`` leaves the
decoder out of corrections, which is the control that tells what the decoder adds.

How a correction is put into the mask it corrects: only where the click asked for it, and never against the click.

A decoder that is given an earlier mask and a click may also change what nobody complained of, and may ignore the click.
Two rules prevent both. The change is taken over only in the connected parts that hold a click which the earlier mask
contradicted. Where a click is still contradicted, the logits are raised (or lowered) around it by a Gaussian just high
enough to obey it, so that unsure pixels nearby follow and sure ones stay.

Source of the first rule: Chen et al., "FocalClick: towards practical interactive image segmentation", CVPR 2022,
progressive merge. The second is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from echoapex.data.preprocess import prepare_image, sample_linear
from echoapex.domain import FrameTransform, Sector
from echoapex.domain.prompts import Point, Prompt
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.models.decoders.promptable import ImageEmbedding
from echoapex.models.encoder import EncodedClip, TaskModel, encode_clip
from echoapex.models.precision import choose_device
from echoapex.tasks.segmentation import SegmentationTask, enlarged
from echoapex.tasks.trained_set import load_models
from echoapex.vocabulary import Application, Structure

Logits = Float[np.ndarray, "height width"]

REACH = 0.03
"""Standard deviation of the Gaussian around an ignored click, as part of the side of the model's square."""
MERGE_HALVINGS = 7
"""So often is the reach halved: from 3 % of the square to a fraction of a pixel."""
MERGE_MARGIN = 1.0
"""How far beyond zero the logit under an obeyed click lies."""


def merge_correction(refined: Logits, previous: Logits, prompt: Prompt, side_px: float) -> Logits:
    """Put a refined mask into the one before it.

    Args:
        refined: what the decoder answered to the clicks.
        previous: the mask before, which the newest click contradicts.
        prompt: all clicks so far; boxes and names play no part.
        side_px: side of the square that the model saw, in pixels of the logits.

    Returns:
        Logits that obey every click, as long as no two opposite ones lie on the same pixel.
    """
    inside = previous > 0
    clicks = [(xy, True) for xy in prompt.positive_xy] + [(xy, False) for xy in prompt.negative_xy]
    contradicted = [xy for xy, positive in clicks if inside[_pixel(xy, inside.shape)] != positive]
    changed = _parts_with((refined > 0) != inside, contradicted)
    merged = np.where(changed, refined, previous).astype(np.float32)
    for halving in range(
        MERGE_HALVINGS
    ):  # opposite clicks close together undo each other until the reach is small enough
        for xy, positive in clicks:
            obey(merged, xy, positive, REACH * side_px / 2**halving)
    return merged


def obey(logits: Logits, xy: Point, positive: bool, reach_px: float) -> None:
    """Raise or lower logits in place around a click that they contradict.

    Args:
        logits: changed in place.
        xy: the click.
        positive: whether it is inside.
        reach_px: standard deviation of the change.
    """
    here = float(logits[_pixel(xy, logits.shape)])
    if (here > 0) == positive:
        return
    rows, columns = np.ogrid[: logits.shape[0], : logits.shape[1]]
    squared = (columns - xy[0]) ** 2 + (rows - xy[1]) ** 2
    height = (abs(here) + MERGE_MARGIN) * (1 if positive else -1)
    logits += (height * np.exp(-squared / (2 * reach_px**2))).astype(np.float32)


def _parts_with(region: Bool[np.ndarray, "height width"], points: list[Point]) -> Bool[np.ndarray, "height width"]:
    """The connected parts of a region that hold one of the points."""
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    wanted = {int(parts[_pixel(xy, region.shape)]) for xy in points} - {0}
    chosen: Bool[np.ndarray, "height width"] = np.isin(parts, list(wanted))
    return chosen


def _pixel(xy: Point, size: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the pixel under a point."""
    return min(max(round(xy[1]), 0), size[0] - 1), min(max(round(xy[0]), 0), size[1] - 1)


Refinement = Literal["merged", "decoder", "brush"]

OUTSIDE_LOGIT = -8.0
"""Logit of what lies outside the frame or the crop: surely not the structure."""


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """One frame as the decoder wants it, and the way from native pixels to its pixels."""

    embedding: ImageEmbedding
    transform: FrameTransform

    @property
    def side_px(self) -> float:
        """Side of the square that the model saw, in native pixels."""
        return self.transform.target_size[1] / float(self.transform.matrix[0, 0])


class InteractiveSegmenter:
    """The promptable decoder of a set, asked in native pixels.

    Args:
        task: encoder and decoder.
        model: the depths that the decoder reads and the side of its input.
        digests: sha256 of the weights, by bundle.
        refinement: see the module.

    Raises:
        ValueError: there is no such refinement.
    """

    understands_names = True

    def __init__(
        self,
        task: SegmentationTask,
        model: TaskModel,
        digests: Mapping[str, str],
        refinement: Refinement = "merged",
    ) -> None:
        if refinement not in get_args(Refinement):
            raise ValueError(f"refinement {refinement!r} is none of {', '.join(get_args(Refinement))}")
        self._task, self._model = task, model
        self.digests = dict(digests)
        self.refinement = refinement

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto", refinement: Refinement = "merged") -> Self:
        """Load a set of bundles onto a device.

        Raises:
            BundleError: the set is missing or damaged.
            DeviceError: there is no such device here.
        """
        models = load_models(name_or_path, choose_device(device))
        model = models.encoders[Application.SEGMENTATION]
        return cls(models.segmentation, model, model.digests, refinement)

    @property
    def input_size(self) -> int:
        """Side of the square frames that the model wants, in pixels."""
        return self._model.input_size

    def encode(self, image: UInt8[np.ndarray, "height width *channels"], sector: Sector | None = None) -> EncodedFrame:
        """Encode one native frame.

        Args:
            image: grey or RGB.
            sector: the ultrasound area; the whole image where it is not given.
        """
        pixels, transform = prepare_image(image, sector, self.input_size)
        return self.frame(self.encode_pixels(pixels[None], (0.0,)), 0, transform)

    def encode_pixels(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: tuple[float, ...]) -> EncodedClip:
        """Encode prepared frames of a clip, each once."""
        with self._model.adapted() as encoder:
            return encode_clip(encoder, self._model.blocks, pixels, times_s)

    @torch.inference_mode()
    def frame(self, clip: EncodedClip, row: int, transform: FrameTransform) -> EncodedFrame:
        """One frame of an encoded clip."""
        images, tokens = clip.select([row])
        return EncodedFrame(self._task.decoder.embed(tokens, images), transform)

    def segment(self, encoded: EncodedFrame, prompt: Prompt, previous_logits: Logits | None = None) -> Logits:
        """Answer one prompt.

        A name alone is the automatic pass, in which all structures are asked for together. Everything else is decoded
        by itself. Clicks on an earlier mask correct it as ``refinement`` says.

        Args:
            encoded: the frame.
            prompt: in native pixels, with all clicks so far; its mask stands in for ``previous_logits`` where those
                are not given.
            previous_logits: an earlier answer, native pixels.

        Returns:
            Logits in native pixels; positive is inside, ``OUTSIDE_LOGIT`` outside the crop.

        Raises:
            ValueError: prompt or earlier logits are of another frame size.
        """
        size = encoded.transform.source_size
        sizes = {prompt.size} | ({previous_logits.shape} if previous_logits is not None else set())
        if sizes != {size}:
            raise ValueError(f"prompt and earlier mask are of {sorted(sizes)}, the frame of {size}")
        if previous_logits is None and prompt.mask is not None:
            previous_logits = sure_logits(prompt.mask)
        clicked = bool(prompt.positive_xy or prompt.negative_xy)
        if previous_logits is None or not clicked or self.refinement == "decoder":
            return self.decode(encoded, prompt, previous_logits)
        drawn = previous_logits if self.refinement == "brush" else self.decode(encoded, prompt, previous_logits)
        return merge_correction(drawn, previous_logits, prompt, encoded.side_px)

    def decode(self, encoded: EncodedFrame, prompt: Prompt, previous_logits: Logits | None) -> Logits:
        """The bare answer of the decoder."""
        return self.predict(encoded, prompt, previous_logits)[0]

    @torch.inference_mode()
    def predict(self, encoded: EncodedFrame, prompt: Prompt, previous_logits: Logits | None) -> tuple[Logits, float]:
        """The bare answer of the decoder, and the overlap (IoU) with the truth that it predicts, 0 to 1."""
        transform, embedding = encoded.transform, encoded.embedding
        device = embedding.patches.device
        if prompt.structure is not None and previous_logits is None and not _points(prompt):
            names = PromptBatch.of_structures(tuple(Structure), 1, device)
            found, column = self._task.decoder(embedding, names, joint=True), prompt.structure - 1
        else:
            batch = prompt_batch(prompt, previous_logits, transform, device)
            found, column = self._task.decoder(embedding, batch), 0
        logits = enlarged(found.logits[:, [column]], transform.target_size)[0, 0].cpu().numpy()
        return _moved(logits, transform), float(found.iou[0, column])


def sure_logits(mask: Bool[np.ndarray, "height width"]) -> Logits:
    """Logits of a mask that somebody is sure of."""
    return np.where(mask, -OUTSIDE_LOGIT, OUTSIDE_LOGIT).astype(np.float32)


def prompt_batch(
    prompt: Prompt, previous_logits: Logits | None, transform: FrameTransform, device: torch.device
) -> PromptBatch:
    """A prompt in native pixels as the decoder wants it: one image, one prompt, model pixels."""
    placed = _points(prompt)
    points = transform.map_points(np.array([xy for xy, _ in placed], float).reshape(-1, 2))
    masks = None
    if previous_logits is not None:
        masks = torch.from_numpy(_moved(previous_logits, transform.inverse))[None, None].to(device)
    return PromptBatch(
        torch.tensor([[int(prompt.structure or NO_STRUCTURE)]], device=device),
        torch.from_numpy(points).float()[None, None].to(device),
        torch.tensor([int(label) for _, label in placed], dtype=torch.long, device=device)[None, None],
        masks,
    )


def _points(prompt: Prompt) -> list[tuple[tuple[float, float], PointLabel]]:
    """All points of a prompt with what they say; the corners of the box come last."""
    placed = [(xy, PointLabel.POSITIVE) for xy in prompt.positive_xy]
    placed += [(xy, PointLabel.NEGATIVE) for xy in prompt.negative_xy]
    if prompt.box_xyxy is not None:
        x0, y0, x1, y1 = prompt.box_xyxy
        placed += [((x0, y0), PointLabel.BOX_FIRST_CORNER), ((x1, y1), PointLabel.BOX_LAST_CORNER)]
    return placed


def _moved(logits: Float[np.ndarray, "h w"], transform: FrameTransform) -> Float[np.ndarray, "height width"]:
    """Logits on the target grid of a transform, brought to its source grid; ``OUTSIDE_LOGIT`` where there are none."""
    return sample_linear(logits - np.float32(OUTSIDE_LOGIT), transform) + np.float32(OUTSIDE_LOGIT)
