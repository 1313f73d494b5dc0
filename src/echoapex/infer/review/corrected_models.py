"""The models of one clip with a person's corrections in the place of their answers.

Two wrappers around any interpreter. :class:`RememberedAnswers` keeps what the models answered about one clip, so that
the same analysis runs again without them. :class:`CorrectedModels` puts the corrections over these answers. The
analysis itself is the usual one: it does not know whether a person or a model has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import UInt8

from echoapex.data.preprocess import PreparedClip
from echoapex.domain import Segmentation, ViewPrediction, WallPoint
from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.cycle import LvCycle
from echoapex.infer.clip.models import EchoDoubter, EjectionEstimate, FrameMasks, FrameWallPoints, Interpreter
from echoapex.infer.clip.outlines import LabelMaps
from echoapex.measure import MeasureError, ejection_fraction_percent
from echoapex.measure.cardiac_cycle import Beat, CardiacCycles
from echoapex.vocabulary import Structure, View

LabelMap = UInt8[np.ndarray, "height width"]
_Confidences = dict[int, Mapping[Structure, float]]
_NO_PAIR = "no end-systole follows a marked end-diastole"


class RememberedAnswers:
    """An interpreter for one clip that asks its models every question once.

    Args:
        models: what answers.
    """

    def __init__(self, models: Interpreter) -> None:
        self._models = models
        self._answers: dict[object, Any] = {}

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        return self._models.input_size

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        return self._models.digests

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """The clip, encoded at the first call."""
        return self._once("encode", lambda: self._models.encode(pixels, times_s))

    def classify_view(self, encoded: Any) -> ViewPrediction:
        """The view of the whole clip."""
        view: ViewPrediction = self._once("view", lambda: self._models.classify_view(encoded))
        return view

    def doubts_echo(self, encoded: Any) -> bool:
        """Whether the models doubt that the clip is an echocardiogram."""
        models = self._models
        return bool(self._once("doubt", lambda: isinstance(models, EchoDoubter) and models.doubts_echo(encoded)))

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, in order; these are large and not kept."""
        return self._models.segment(encoded, rows, structures)

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """The four LV wall end points on some PLAX frames."""
        points: Sequence[FrameWallPoints] = self._once(
            ("walls", tuple(rows)), lambda: list(self._models.find_wall_points(encoded, rows))
        )
        return points

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip."""
        estimate: EjectionEstimate = self._once("ef", lambda: self._models.estimate_ejection_fraction(encoded))
        return estimate

    def outlines(
        self, rows: Sequence[int], structures: Sequence[Structure], outline: Callable[[], Sequence[Segmentation]]
    ) -> list[Segmentation]:
        """The outlines of some rows, computed by ``outline`` at the first call and kept compressed."""
        packed: tuple[LabelMaps, _Confidences] | None = self._once(
            ("outlines", tuple(rows), tuple(structures)), lambda: _packed(outline())
        )
        if packed is None:
            return []
        maps, confidences = packed
        return [Segmentation(frame, np.array(maps[frame]), found) for frame, found in confidences.items()]

    def recall(self, key: object, compute: Callable[[], Any]) -> Any:
        """What was computed for a key before, or now; an error of measuring is recalled too."""

        def attempt() -> tuple[Any, MeasureError | None]:
            try:
                return compute(), None
            except MeasureError as error:
                return None, error

        value, error = self._once(("recall", key), attempt)
        if error is not None:
            raise error
        return value

    def _once(self, key: object, ask: Callable[[], Any]) -> Any:
        if key not in self._answers:
            self._answers[key] = ask()
        return self._answers[key]


def _packed(found: Sequence[Segmentation]) -> tuple[LabelMaps, _Confidences] | None:
    if not found:
        return None
    maps = LabelMaps(found[0].size)
    for item in found:
        maps[item.frame] = item.labels
    return maps, {item.frame: item.confidence for item in found}


class CorrectedModels:
    """An interpreter that answers with what a person corrected, and with its models elsewhere.

    Args:
        answers: of the models to this clip.
        clip: the clip in model pixels.
        correction: what was corrected.
        label_maps: by native frame, the label maps that hold the corrected outlines.
        uncorrected: the cycle with all corrections but those of outlines, as ``cycle`` of another of these models holds
            it; None where the beats are to be found anew.

    Attributes:
        cycle: of the last analysis.
    """

    def __init__(
        self,
        answers: RememberedAnswers,
        clip: PreparedClip,
        correction: ClipCorrection,
        label_maps: Mapping[int, LabelMap],
        uncorrected: LvCycle | None = None,
    ) -> None:
        self._answers, self._clip = answers, clip
        self._correction, self._label_maps = correction, label_maps
        self._uncorrected = uncorrected
        self.cycle: LvCycle | None = None

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        return self._answers.input_size

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        return self._answers.digests

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """The clip, encoded once."""
        return self._answers.encode(pixels, times_s)

    def doubts_echo(self, encoded: Any) -> bool:
        """Never, where a person has named the view or wants the clip to be read."""
        if self._correction.view is not None or self._correction.set_aside is False:
            return False
        return self._answers.doubts_echo(encoded)

    def classify_view(self, encoded: Any) -> ViewPrediction:
        """The view that a person named, with probability 1; else that of the models."""
        named = self._correction.view
        if named is None:
            return self._answers.classify_view(encoded)
        return ViewPrediction({view: float(view is named) for view in View})

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the models; a person's are put in their place in native pixels, by ``correct_outlines``."""
        return self._answers.segment(encoded, rows, structures)

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """A person's points on the frames where there are any, and then no others; else those of the models."""
        if not self._correction.wall_points:
            return self._answers.find_wall_points(encoded, rows)
        found = []
        for frame, named in sorted(self._correction.wall_points.items()):
            points = self._clip.transform.map_points(np.array([named[point] for point in WallPoint]))
            found.append((self._clip.frame_indices.index(frame), points, np.ones(len(WallPoint))))
        return found

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip, as the models estimate it."""
        return self._answers.estimate_ejection_fraction(encoded)

    @property
    def marked_frames(self) -> tuple[int, ...]:
        """Native frames that a person marked as end-diastole or end-systole."""
        return tuple(sorted({*(self._correction.ed_frames or ()), *(self._correction.es_frames or ())}))

    def correct_outlines(
        self, rows: Sequence[int], structures: Sequence[Structure], outline: Callable[[], Sequence[Segmentation]]
    ) -> list[Segmentation]:
        """The outlines of some rows with the person's in their place."""
        return [self._corrected(found) for found in self._answers.outlines(rows, structures, outline)]

    def correct_cycle(self, cycle: LvCycle) -> LvCycle:
        """The cycle with the beats that a person marked.

        Else beats stay where they were found before outlines were corrected: a single corrected frame must not move the
        end of a beat to a frame that nobody corrected. Where most outlines of the LV are a person's, as after a mask
        was carried through the clip, beats are found in these.
        """
        drawn = [frame for frame in cycle.frames if Structure.LV_CAVITY in self._correction.outlined_on(frame)]
        if self._uncorrected is not None and 2 * len(drawn) <= len(cycle.frames):
            cycle = keep_beats(cycle, self._uncorrected)
        self.cycle = mark_cycle(cycle, self._correction.ed_frames, self._correction.es_frames)
        return self.cycle

    def recall(self, key: object, compute: Callable[[], Any]) -> Any:
        """What was computed for a key before, or now."""
        return self._answers.recall(key, compute)

    def _corrected(self, found: Segmentation) -> Segmentation:
        structures = self._correction.outlined_on(found.frame)
        if not structures:
            return found
        drawn = self._label_maps[found.frame]
        values = sorted(int(structure) for structure in structures)
        labels = np.where(np.isin(found.labels, values), 0, found.labels).astype(np.uint8)
        is_drawn = np.isin(drawn, values)
        labels[is_drawn] = drawn[is_drawn]
        return replace(found, labels=labels, corrected=structures)


def keep_beats(cycle: LvCycle, before: LvCycle) -> LvCycle:
    """A cycle with the beats that were found in another one of the same frames, if there were any."""
    if before.cycles is None or not before.cycles.beats or before.frames != cycle.frames:
        return cycle
    smoothed = before.cycles.smoothed if cycle.cycles is None else cycle.cycles.smoothed
    volumes = np.maximum(np.asarray(smoothed, float), 0)
    beats = tuple(_beat(beat.ed_frame, beat.es_frame, beat.next_ed_frame, volumes) for beat in before.cycles.beats)
    cycles = replace(before.cycles, beats=beats, smoothed=smoothed)
    return replace(cycle, cycles=cycles, reason=before.reason)


def mark_cycle(cycle: LvCycle, ed_frames: tuple[int, ...] | None, es_frames: tuple[int, ...] | None) -> LvCycle:
    """The cycle with the ends of beats that a person marked.

    Each end-diastole is paired with the first end-systole before the next end-diastole. If no pair is in this order,
    the two nearest are taken: a clip may begin in systole. The heart rate stays as it was found.

    Args:
        cycle: as found; the marked frames are among its frames.
        ed_frames: native end-diastolic frames, ascending; None leaves those that were found.
        es_frames: native end-systolic frames, likewise.
    """
    if ed_frames is None and es_frames is None:
        return cycle
    starts = cycle.ed_frames if ed_frames is None else ed_frames
    ends = cycle.es_frames if es_frames is None else es_frames
    pairs = _pairs(starts, ends)
    found = cycle.cycles
    known = cycle.sizes if found is None else found.smoothed
    volumes = np.maximum(np.nan_to_num(np.asarray(known, float)), 0)
    later = sorted({end for beat in (found.beats if found else ()) for end in (beat.ed_frame, beat.next_ed_frame or 0)})
    at = {frame: index for index, frame in enumerate(cycle.frames)}
    beats = []
    for start, end, following in pairs:
        first, last = at[start], at[end]
        known_next = next((index for index in later if index > max(first, last)), None)
        after = known_next if following is None else at[following]
        beats.append(_beat(first, last, after, volumes))
    cycles = CardiacCycles((), volumes, None, None, ()) if found is None else found
    cycles = replace(cycles, beats=tuple(beats), reason="" if beats else _NO_PAIR)
    return replace(cycle, cycles=cycles, reason=cycles.reason, ed_marks=tuple(starts), es_marks=tuple(ends))


def _pairs(starts: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int, int | None]]:
    """Each end-diastole with its end-systole and the next end-diastole."""
    pairs: list[tuple[int, int, int | None]] = []
    for start, following in pairwise((*starts, None)):
        assert start is not None
        end = next((end for end in ends if end > start and (following is None or end < following)), None)
        if end is not None:
            pairs.append((start, end, following))
    if not pairs and starts and ends:
        start, end = min(((start, end) for start in starts for end in ends), key=lambda pair: abs(pair[0] - pair[1]))
        pairs = [(start, end, None)] if start != end else []
    return pairs


def _beat(first: int, last: int, after: int | None, volumes: np.ndarray) -> Beat:
    ends = (float(volumes[first]), float(volumes[last]))
    try:
        ef = ejection_fraction_percent(*ends)
    except MeasureError:  # the curve does not eject between the marks: a person's word stands, the value is not used
        ef = 0.0
    return Beat(first, last, after, *ends, ef)
