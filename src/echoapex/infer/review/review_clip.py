"""A clip under review: it answers clicks, carries masks through the clip, and is computed again with corrections.

The clip is decoded when it is opened and encoded at the first question, once for everything that is asked. All methods
may be called from several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from echoapex.domain.clip import FrameTransform, Size
from echoapex.domain.corrections import ClipCorrection
from echoapex.domain.prompts import Prompt
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.interactive.clicks import EncodedFrame, InteractiveSegmenter, Logits, sure_logits
from echoapex.infer.interactive.propagation import ClipMasks, InteractiveClip
from echoapex.infer.review.corrected_models import LabelMap
from echoapex.infer.review.recomputation import ClipRecomputation, ReviewError
from echoapex.io.clip_source import ClipSource
from echoapex.models.onnx_graph import EMBEDDING_NAMES
from echoapex.models.precision import Precision, choose_device, choose_precision
from echoapex.models.prompt_sampling import Click
from echoapex.models.registry import DEFAULT_SET, find_set
from echoapex.vocabulary import Application, Structure

Mask = Bool[np.ndarray, "height width"]
Box = tuple[float, float, float, float]
T = TypeVar("T")

_FRAMES_KEPT = 64
"""Frames of a clip that stay ready for prompts, about a megabyte each."""
_ANSWERS_KEPT = 24
"""Logits that are kept per clip, so that one more click costs one pass of the decoder."""
_FLIPPED_LOGIT = 2.0
"""Least magnitude of the logits where a person's mask contradicts the automatic one."""


@dataclass(frozen=True, eq=False)
class ReviewModels:
    """A set of weights, loaded once for any number of clips.

    Attributes:
        interpreter: its tasks, for analyses; clips under review share it.
        segmenter: its promptable decoder.
        name: of the set.
        device: where it computes.
        origin: where it was loaded from, name or folder.
    """

    interpreter: TaskInterpreter
    segmenter: InteractiveSegmenter
    name: str
    device: str
    origin: str | Path

    @classmethod
    def load(
        cls, name_or_path: str | Path = DEFAULT_SET, device: str = "auto", precision: Precision = "auto"
    ) -> ReviewModels:
        """Load a set.

        Args:
            name_or_path: name of an installed set, or the folder of one.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            precision: of the encoder; that of the analysis, if its values are to come out bit for bit.

        Raises:
            BundleError: there is no such set, or it is damaged.
            DeviceError: there is no such device here.
        """
        place = choose_device(device)
        interpreter = TaskInterpreter.load(name_or_path, device, choose_precision(precision, place).name)
        return cls.of(interpreter, find_set(name_or_path).name, str(place), name_or_path)

    @classmethod
    def of(cls, interpreter: TaskInterpreter, name: str, device: str, origin: str | Path | None = None) -> ReviewModels:
        """The set behind tasks that are loaded already; ``origin`` is its folder, if its name does not find it."""
        model = interpreter.models.encoders[Application.SEGMENTATION]
        segmenter = InteractiveSegmenter(interpreter.models.segmentation, model, model.digests)
        return cls(interpreter, segmenter, name, device, name if origin is None else origin)

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the weights, by bundle."""
        return self.interpreter.digests


@dataclass(frozen=True, eq=False)
class Answer:
    """What the decoder made of a prompt, native pixels.

    Attributes:
        logits: positive is inside.
        iou: overlap with the truth that the decoder predicts, 0 to 1.
    """

    logits: Logits
    iou: float

    @property
    def mask(self) -> Mask:
        """The mask."""
        return np.asarray(self.logits > 0)


class _Recent(Generic[T]):
    """The values that were asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[object, T] = OrderedDict()

    def get(self, key: object, make: Callable[[], T]) -> T:
        """The value of a key; it is made if it is not here."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        self._values[key] = value
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return value

    def values(self) -> list[T]:
        """All of them, the newest last."""
        return list(self._values.values())


class ReviewClip:
    """A clip under review; ``ReviewClip.open`` makes one."""

    def __init__(self, models: ReviewModels, recomputation: ClipRecomputation) -> None:
        self._models = models
        self._recomputation: ClipRecomputation | None = recomputation
        self._interactive: InteractiveClip | None = None
        self._lock = threading.RLock()
        self._answers = _Recent[tuple[int, Structure | None, Answer]](_ANSWERS_KEPT)

    @classmethod
    def open(
        cls,
        models: ReviewModels,
        source: ClipSource,
        *,
        clip_id: str | None = None,
        options: AnalysisOptions | None = None,
    ) -> ReviewClip:
        """Decode and prepare a clip; it is encoded at the first question.

        Args:
            models: the set that analysed the clip.
            source: the clip.
            clip_id: its name in the results, where the source has another.
            options: those of the analysis (``StoredAnalysis.manifest.options``).

        Raises:
            ReadError: a frame cannot be decoded.
        """
        return cls(models, ClipRecomputation(models.interpreter, source, options, clip_id))

    @property
    def clip_id(self) -> str:
        """The name of the clip in the results."""
        return self._open().header.clip_id

    @property
    def size(self) -> Size:
        """Native height and width."""
        return self._open().header.size

    @property
    def frame_count(self) -> int:
        """Number of native frames."""
        return self._open().header.frame_count

    @property
    def frame_times_s(self) -> tuple[float, ...]:
        """Times of the native frames in s."""
        return self._open().header.frame_times_s

    @property
    def input_size(self) -> int:
        """Side in pixels of the square that the decoder sees."""
        return self._models.segmenter.input_size

    @property
    def square_from_native(self) -> Float[np.ndarray, "3 3"]:
        """The map of points from native pixels to pixels of the square; acts on (x, y, 1)."""
        return self._transform().matrix

    def automatic(self, frame: int, structure: Structure) -> Logits:
        """Logits of the automatic mask of one structure, native pixels.

        Raises:
            ReviewError: there is no such frame.
        """
        return self.answer(frame, structure).logits

    def segment(
        self,
        frame: int,
        structure: Structure | None = None,
        clicks: Sequence[Click] = (),
        box: Box | None = None,
        mask: Mask | Logits | None = None,
    ) -> Mask:
        """The mask that answers a prompt, native pixels; see :meth:`answer`."""
        return self.answer(frame, structure, clicks, box, mask).mask

    def answer(
        self,
        frame: int,
        structure: Structure | None = None,
        clicks: Sequence[Click] = (),
        box: Box | None = None,
        mask: Mask | Logits | None = None,
    ) -> Answer:
        """Answer a prompt; clicks are answered one after another, each on the mask that the one before it left.

        Args:
            frame: native frame number.
            structure: what is meant. Clicks without a box or a mask correct its automatic mask.
            clicks: in the order in which they were made, native pixels.
            box: (x0, y0, x1, y1) around the structure, native pixels.
            mask: the mask before the first click, or its logits.

        Raises:
            ReviewError: nothing was asked for, or there is no such frame.
            ValueError: a click or the box is outside the frame, or the mask is of another size.
        """
        if structure is None and box is None and mask is None and not clicks:
            raise ReviewError("nothing was asked for; give a structure, a click, a box or a mask")
        if clicks:
            key: object = (frame, structure, tuple(clicks), box, None if mask is None else mask.tobytes())
        else:
            key = (frame, structure, box, None if mask is None else mask.tobytes())
        with self._lock:
            return self._answers.get(
                key, lambda: (frame, structure, self._answer(frame, structure, clicks, box, mask))
            )[2]

    def _answer(
        self, frame: int, structure: Structure | None, clicks: Sequence[Click], box: Box | None, mask: np.ndarray | None
    ) -> Answer:
        segmenter, encoded = self._models.segmenter, self._frame(frame)
        if not clicks and mask is not None and box is None:
            return Answer(_as_logits(mask), 1.0)
        if not clicks:
            prompt = Prompt(self.size, box_xyxy=box, structure=structure)
            return Answer(*segmenter.predict(encoded, prompt, None if mask is None else _as_logits(mask)))
        before: Logits | None = None
        if len(clicks) > 1 or structure is not None or box is not None or mask is not None:
            before = self.answer(frame, structure, clicks[:-1], box, mask).logits
        prompt = Prompt(
            self.size,
            positive_xy=tuple((click.x, click.y) for click in clicks if click.positive),
            negative_xy=tuple((click.x, click.y) for click in clicks if not click.positive),
            box_xyxy=box,
            structure=structure,
        )
        iou = segmenter.predict(encoded, prompt, before)[1]
        return Answer(segmenter.segment(encoded, prompt, before), iou)

    def propagate(
        self, frame: int, structure: Structure | None, mask: Mask, drawn: Mapping[int, Mask] | None = None
    ) -> ClipMasks:
        """Carry the mask of one frame through the clip; that frame keeps it.

        Args:
            frame: native frame number.
            structure: what is meant, where it has a name.
            mask: native pixels.
            drawn: masks of the same structure that a person has made on other frames. They stay, and every frame
                follows the nearest of all.

        Raises:
            ReviewError: there is no such frame, or a mask is of another size.
        """
        clip = self._open()
        masks = {**(drawn or {}), frame: mask}
        for each in masks.values():
            if each.shape != self.size:
                raise ReviewError(
                    f"{self.clip_id}: a mask of {each.shape} on frames of {self.size}; give native pixels"
                )
        by_row = {clip.row_of(number): number for number in sorted(masks)}
        with self._lock:
            interactive = self._encoded()
            carried = np.zeros((interactive.frame_count, *self.size), bool)
            for row, within in _nearest(list(by_row), interactive.frame_count).items():
                corrected = self._logits_of(by_row[row], structure, masks[by_row[row]])
                part = interactive.propagate(row, corrected, structure, within)
                carried[within.start : within.stop] = part[within.start : within.stop]
        if len(carried) == self.frame_count:
            return carried
        rows = np.searchsorted(clip.prepared.frame_indices, np.arange(self.frame_count), side="right") - 1
        return carried[rows]

    def _logits_of(self, frame: int, structure: Structure | None, mask: Mask) -> Logits:
        """Logits of a mask: those of the answer that gave it, else the automatic ones, turned where they contradict."""
        for known_frame, known_structure, found in reversed(self._answers.values()):
            if (known_frame, known_structure) == (frame, structure) and np.array_equal(found.mask, mask):
                return found.logits
        if structure is None:
            return sure_logits(mask)
        automatic = self.automatic(frame, structure)
        turned = np.where(mask, 1, -1) * np.maximum(np.abs(automatic), _FLIPPED_LOGIT)
        return np.where((automatic > 0) == mask, automatic, turned).astype(np.float32)

    def embedding(self, frame: int) -> dict[str, Float[np.ndarray, "..."]]:
        """What the exported decoder needs to know of a frame, float32; the names are those of its inputs.

        Raises:
            ReviewError: there is no such frame.
        """
        with self._lock:
            embedding = self._frame(frame).embedding
        parts = (embedding.patches, embedding.fine.half, embedding.fine.quarter)
        arrays = (np.ascontiguousarray(part.float().cpu().numpy()) for part in parts)
        return dict(zip(EMBEDDING_NAMES, arrays, strict=True))

    def reanalyze(self, correction: ClipCorrection, label_maps: Mapping[int, LabelMap] | None = None) -> ClipAnalysis:
        """The analysis with corrections; see :meth:`ClipRecomputation.reanalyze`.

        Raises:
            ReviewError: the correction does not suit this clip.
        """
        return self._open().reanalyze(correction, label_maps)

    def close(self) -> None:
        """Free the memory of the clip; it answers no more."""
        with self._lock:
            self._recomputation = self._interactive = None
            self._answers = _Recent(_ANSWERS_KEPT)

    def _open(self) -> ClipRecomputation:
        if self._recomputation is None:
            raise ReviewError("the clip was closed; open it again")
        return self._recomputation

    def _transform(self) -> FrameTransform:
        """Native pixels to pixels of the decoder's square."""
        prepared = self._open().prepared.transform
        scale = self.input_size / prepared.target_size[0]
        enlarge = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1.0]])
        matrix = prepared.matrix if scale == 1 else enlarge @ prepared.matrix
        return FrameTransform(matrix, prepared.source_size, (self.input_size, self.input_size))

    def _encoded(self) -> InteractiveClip:
        with self._lock:
            if self._interactive is None:
                clip = self._open()
                tokens = self._models.interpreter.tokens(clip.encoded(), Application.SEGMENTATION)
                prepared = replace(clip.prepared, transform=self._transform())
                self._interactive = InteractiveClip(self._models.segmenter, prepared, tokens, _FRAMES_KEPT)
            return self._interactive

    def _frame(self, frame: int) -> EncodedFrame:
        row = self._open().row_of(frame)
        return self._encoded().frame(row)


def _nearest(rows: Sequence[int], count: int) -> dict[int, range]:
    """The part of a clip that lies nearest to each of some rows, ascending; ties go to the earlier one."""
    ends = [(first + second) // 2 + 1 for first, second in pairwise(rows)]
    return dict(zip(rows, map(range, [0, *ends], [*ends, count]), strict=True))


def _as_logits(mask: np.ndarray) -> Logits:
    return sure_logits(mask) if mask.dtype == bool else np.asarray(mask, np.float32)
