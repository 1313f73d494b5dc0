"""The trained tasks as an interpreter: an encoder runs once per clip, and all tasks that share it read its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from echoapex.domain import ViewPrediction
from echoapex.infer.interpreter import FrameMasks, FrameWallPoints
from echoapex.models.precision import Precision, choose_precision
from echoapex.tasks.ejection_fraction import EfPrediction
from echoapex.tasks.encoded_clip import EncodedClip, encode_clip
from echoapex.tasks.models import Models, load_models
from echoapex.vocabulary import Application, Structure

Pixels = UInt8[np.ndarray, "frames size size"]


class DeviceError(ValueError):
    """A device that this machine does not have; the message says which it has."""


def choose_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``mps``; ``auto`` takes the fastest there is.

    Raises:
        DeviceError: there is no such device here.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present.get(name, False):
        have = ", ".join(kind for kind, there in present.items() if there)
        raise DeviceError(f"there is no device {name!r} here (there is: {have}); use --device auto")
    return torch.device(name)


@dataclass(eq=False)
class _ClipTokens:
    """A clip at the size of the analysis, and what each pass made of it, filled when first asked for."""

    pixels: Pixels
    times_s: tuple[float, ...]
    by_pass: dict[tuple[int, int, int], EncodedClip] = field(default_factory=dict)


class TaskInterpreter:
    """The four tasks of a set behind the interpreter protocol.

    Tasks whose encoders want another input size get the same frames resized; their answers are scaled back.
    """

    def __init__(self, models: Models, precision: Literal["bf16", "fp32"] = "fp32") -> None:
        self._models = models
        self.precision = precision

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto", precision: Precision = "auto") -> TaskInterpreter:
        """Load a set of bundles onto a device.

        Raises:
            BundleError: the set is missing or damaged.
            DeviceError: there is no such device here.
        """
        place = choose_device(device)
        return cls(load_models(name_or_path, place), choose_precision(precision, place).name)

    @property
    def input_size(self) -> int:
        """The largest side in pixels that a task of the set wants."""
        return max(model.input_size for model in self._models.encoders.values())

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the weights, by bundle."""
        return dict(self._models.digests)

    def encode(self, pixels: Pixels, times_s: Sequence[float]) -> _ClipTokens:
        """Hold the clip; each encoder reads it when a task first needs that."""
        return _ClipTokens(pixels, tuple(times_s))

    def classify_view(self, encoded: _ClipTokens) -> ViewPrediction:
        """The view of the whole clip."""
        return self._models.view_classification.predict(self._tokens(encoded, Application.VIEW_CLASSIFICATION))

    def doubts_echo(self, encoded: _ClipTokens) -> bool:
        """Whether the clip is no echocardiogram by what the set has learned; the encoder runs only where it has."""
        if self._models.view_classification.not_echo is None:
            return False
        return self._models.view_classification.doubts_echo(self._tokens(encoded, Application.VIEW_CLASSIFICATION))

    def segment(
        self, encoded: _ClipTokens, rows: Sequence[int], structures: Sequence[Structure]
    ) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, at the size of the analysis."""
        if not rows:
            return
        tokens = self._tokens(encoded, Application.SEGMENTATION)
        for row, probabilities, overlap in self._models.segmentation.predict(tokens, rows, structures):
            yield row, self._enlarged(probabilities), overlap

    def find_wall_points(self, encoded: _ClipTokens, rows: Sequence[int]) -> list[FrameWallPoints]:
        """The four LV wall end points on some frames, in pixels at the size of the analysis."""
        if not rows:
            return []
        tokens = self._tokens(encoded, Application.LV_WALL)
        scale = self.input_size / self._models.encoders[Application.LV_WALL].input_size
        found = self._models.lv_wall.predict(tokens, rows)
        # pixel centres: the first pixel's edge stays at -0.5
        return [(row, (points + 0.5) * scale - 0.5, confidence) for row, points, confidence in found]

    def estimate_ejection_fraction(self, encoded: _ClipTokens) -> EfPrediction:
        """The ejection fraction of the whole clip."""
        return self._models.ejection_fraction.predict(self._tokens(encoded, Application.EJECTION_FRACTION))

    def _tokens(self, clip: _ClipTokens, application: Application) -> EncodedClip:
        """The tokens that one task reads; the encoder runs when they are not there yet."""
        model = self._models.encoders[application]
        shared = self._models.shared_blocks(application)
        if model.pass_key not in clip.by_pass:
            pixels = _resized(clip.pixels, model.input_size)
            with model.adapted() as encoder:
                clip.by_pass[model.pass_key] = encode_clip(
                    encoder, shared, pixels, clip.times_s, precision=self.precision
                )
        encoded = clip.by_pass[model.pass_key]
        wanted = tuple(encoded.tokens[shared.index(block)] for block in model.blocks)
        return EncodedClip(encoded.pixels, wanted, encoded.times_s)

    def _enlarged(self, probabilities: np.ndarray) -> np.ndarray:
        size = self.input_size
        if probabilities.shape[-1] == size:
            return probabilities
        return np.stack([cv2.resize(each, (size, size), interpolation=cv2.INTER_LINEAR) for each in probabilities])


def _resized(pixels: Pixels, size: int) -> Pixels:
    if pixels.shape[-1] == size:
        return pixels
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in pixels])
