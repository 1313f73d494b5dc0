"""Clips as vectors, to find their like in an archive, and their patches as features, to see what an encoder sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from echoapex.data.preprocess import PreparedClip, prepare_frames, sample_linear
from echoapex.domain import FrameTransform
from echoapex.io.clip_source import ClipSource
from echoapex.models.bundle import BundleError, build_encoder_from, load_bundle
from echoapex.models.decoders.linear import pool_frame
from echoapex.models.encoder import Tokens, VisionTransformer, encode_clip
from echoapex.models.precision import ChosenPrecision, Precision, choose_device, choose_precision

FRAMES_OF_VECTOR = 8
"""A clip is summed up by so many frames, evenly spread."""
_MOST_DECODED = 512


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """Patch features of some frames of a clip.

    Attributes:
        frames: native frame numbers, ascending.
        patches: one vector per frame and patch, rows from top to bottom.
        inside: whether more than half of a patch lies in the ultrasound sector.
        transform: native pixels to model pixels.
    """

    frames: tuple[int, ...]
    patches: Float[np.ndarray, "frames rows columns width"]
    inside: Bool[np.ndarray, "rows columns"]
    transform: FrameTransform

    def enlarge(self, colours: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "height width 4"]:
        """Colours of patches as an RGBA image in native pixels; clear outside the sector."""
        layers = np.concatenate([colours, 255 * self.inside[..., None].astype(np.uint8)], axis=-1)
        side = self.transform.target_size[::-1]
        enlarged = cv2.resize(layers, side, interpolation=cv2.INTER_LINEAR)
        native = np.stack([sample_linear(enlarged[..., layer], self.transform) for layer in range(4)], axis=-1)
        return np.clip(np.round(native), 0, 255).astype(np.uint8)


class ClipEmbedder:
    """An encoder that turns clips into vectors.

    Attributes:
        sha256: digest of the encoder's weights; vectors of different encoders cannot be compared.
    """

    def __init__(self, network: VisionTransformer, side: int, sha256: str, precision: ChosenPrecision) -> None:
        self._network = network
        self._side = side
        self._precision = precision
        self.sha256 = sha256

    @classmethod
    def load(cls, encoder: Path, device: str = "auto", precision: Precision = "auto") -> Self:
        """Load an encoder bundle.

        Raises:
            BundleError: it is missing or damaged, or it prepares frames in a way of its own.
            DeviceError: there is no such device here.
        """
        place, bundle = choose_device(device), load_bundle(encoder)
        preparation = bundle.card.preprocessing
        if preparation.rule != "per_frame":
            raise BundleError(
                f"{encoder}: prepares frames by the rule {preparation.rule!r}; choose a set that does not"
            )
        network = build_encoder_from(bundle).to(place).eval().requires_grad_(False)
        return cls(network, preparation.size[0], bundle.digest, choose_precision(precision, place))

    def embed(self, source: ClipSource) -> Float[np.ndarray, "width"]:
        """The unit vector of a clip: class token and mean patch token of some frames, averaged.

        Raises:
            ReadError: the clip cannot be read.
        """
        prepared = prepare_frames(source, self._side, max_frames=FRAMES_OF_VECTOR)
        tokens = self._encode(prepared, range(len(prepared.frame_indices)))
        mean = pool_frame(tokens.each(torch.Tensor.float)).mean(dim=0)
        vector: np.ndarray = torch.nn.functional.normalize(mean, dim=0).cpu().numpy()
        return vector

    def patches(self, source: ClipSource, frame: int) -> PatchFeatures:
        """Patch features of a frame, and of others spread over the clip, so that colours are the same on all frames.

        Raises:
            ReadError: the clip cannot be read.
            ValueError: the clip has no such frame.
        """
        prepared = prepare_frames(source, self._side, max_frames=_MOST_DECODED)
        last = len(prepared.frame_indices) - 1
        if not 0 <= frame < prepared.header.frame_count:
            raise ValueError(f"the clip has {prepared.header.frame_count} frames; ask for one from 0")
        near = int(np.abs(np.array(prepared.frame_indices) - frame).argmin())
        rows = sorted({near, *np.linspace(0, last, FRAMES_OF_VECTOR).round().astype(int).tolist()})
        tokens = self._encode(prepared, rows)
        features = tokens.patches.float().cpu().numpy().reshape(len(rows), *tokens.grid, -1)
        lit = np.asarray((prepared.pixels[rows] > 0).any(axis=0), np.float32)
        share = cv2.resize(lit, tokens.grid[::-1], interpolation=cv2.INTER_AREA)
        frames = tuple(frame if row == near else prepared.frame_indices[row] for row in rows)
        return PatchFeatures(frames, features, share > 0.5, prepared.transform)

    @torch.inference_mode()
    def _encode(self, prepared: PreparedClip, rows: range | list[int]) -> Tokens:
        last, chosen = self._network.config.depth - 1, list(rows)
        times_s = [prepared.frame_times_s[row] for row in chosen]
        device = next(self._network.parameters()).device
        autocast = self._precision.autocast(device)
        return encode_clip(self._network, (last,), prepared.pixels[chosen], times_s, autocast=autocast).tokens[0]
