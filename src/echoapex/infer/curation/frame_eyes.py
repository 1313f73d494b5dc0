"""What an encoder and a view classifier make of single frames: a feature, a view, and how legible the frame is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor
from torch.nn import functional

from echoapex.data.batch import standardise
from echoapex.infer.quality import assess_image
from echoapex.infer.task_interpreter import choose_device
from echoapex.models.bundle import CARD_FILE, Bundle, Preprocessing, build_encoder_from, load_bundle
from echoapex.models.decoders.linear import pool_frame
from echoapex.models.registry import default_set, find_set
from echoapex.models.tokens import Tokens
from echoapex.tasks.models import ViewModel, load_view_model


@dataclass(frozen=True, eq=False)
class Glance:
    """What is known of some frames.

    Attributes:
        features: class token and mean of the patch tokens, together of unit length.
        views: probabilities in the order of ``View``.
        legibility: from 0 (nearly blank) to 1, as :func:`echoapex.infer.quality.assess_image` has it.
    """

    features: Float16[np.ndarray, "frames width"]
    views: Float[np.ndarray, "frames views"]
    legibility: Float[np.ndarray, "frames"]


class FrameEyes:
    """Looks at frames through an encoder and a view classifier.

    Where the classifier was trained on that very encoder, and wants the same size, frames are encoded once.

    Args:
        encoder: bundle of the encoder whose features are wanted.
        view: the view classifier, on the encoder that it was trained on.
        device: where they are.
    """

    def __init__(self, encoder: Bundle, view: ViewModel, device: torch.device) -> None:
        self._encoder = build_encoder_from(encoder).to(device).requires_grad_(False)
        self._preprocessing = encoder.card.preprocessing
        self._view = view
        self._device = device
        self._shared = (
            view.digests["encoder"] == encoder.digest
            and view.model.adapter is None
            and self._preprocessing.rule == "per_frame"
            and self._preprocessing.size[0] == view.model.input_size
        )
        self.digests = {"encoder": encoder.digest, **{f"view_{part}": sha for part, sha in view.digests.items()}}

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto") -> Self:
        """Load a set of bundles, or one encoder bundle; where it has no view classifier the default set gives one.

        Raises:
            BundleError: there is no such set or bundle, or it is damaged.
            DeviceError: there is no such device here.
        """
        chosen = choose_device(device)
        place = Path(name_or_path)
        if (place / CARD_FILE).is_file():
            return cls(load_bundle(place), load_view_model(default_set(), chosen), chosen)
        found = find_set(name_or_path)
        return cls(load_bundle(found.encoder), load_view_model(found, chosen), chosen)

    @torch.inference_mode()
    def look(self, frames: Sequence[UInt8[np.ndarray, "size size"]]) -> Glance:
        """What is known of frames of one size."""
        last = len(self._encoder.blocks) - 1
        wanted = (*self._view.model.blocks, last) if self._shared else (last,)
        side = self._preprocessing.size[0]
        tokens = self._encoder.forward_blocks(self._normalised(_resized(frames, side)), wanted)
        features = functional.normalize(pool_frame(tokens[-1]).float(), dim=1)
        views = self._view.task.frame_probabilities(tokens[:-1] if self._shared else self._view_tokens(frames))
        return Glance(
            features=features.half().cpu().numpy(),
            views=views.float().cpu().numpy(),
            legibility=np.array([assess_image(frame[None]).score for frame in frames], np.float32),
        )

    def _view_tokens(self, frames: Sequence[np.ndarray]) -> Sequence[Tokens]:
        model = self._view.model
        images = standardise(self._on_device(_resized(frames, model.input_size)))
        with model.adapted() as encoder:
            return encoder.forward_blocks(images, model.blocks)

    def _normalised(self, pixels: UInt8[np.ndarray, "frames side side"]) -> Float[Tensor, "frames channels side side"]:
        images = _normalise(self._on_device(pixels), self._preprocessing)
        return images.expand(-1, self._encoder.config.in_channels, -1, -1)

    def _on_device(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).to(self._device)


def _normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    if preprocessing.rule == "per_frame":
        return standardise(pixels)
    return ((pixels.float() / 255 - preprocessing.mean) / preprocessing.std).unsqueeze(-3)


def _resized(frames: Sequence[np.ndarray], side: int) -> UInt8[np.ndarray, "frames side side"]:
    same = frames[0].shape[0] == side
    smaller = frames[0].shape[0] > side
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([frame if same else cv2.resize(frame, (side, side), interpolation=how) for frame in frames])
