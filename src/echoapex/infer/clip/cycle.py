"""The left ventricle through the cardiac cycle: its size on every outlined frame, the beats, ED and ES.

Two values need no contours and are measured here: the heart rate, and the ejection fraction by regression.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from echoapex.domain import Flag, Measurement, RWaveSource, VolumeCurve
from echoapex.domain.results import VolumePoint
from echoapex.infer.clip.models import Corrector, EjectionEstimate
from echoapex.infer.clip.outlines import ClipOutlines
from echoapex.infer.clip.reading import ClipReading, r_waves_of
from echoapex.measure import (
    LvShape,
    MeasureError,
    ejection_fraction_percent,
    is_cut_off,
    measure_lv_shape,
    single_plane_volume,
)
from echoapex.measure.cardiac_cycle import Beat, CardiacCycles, RateMarks, condition_volumes, detect_cardiac_cycles
from echoapex.measure.reference_limits import LARGEST_RATE_DIFFERENCE, impossible_jumps
from echoapex.vocabulary import Quantity, Structure

DISCS_METHOD = "single-plane discs"
AREA_METHOD = "LV cavity area"
DECODER_METHOD = "volume decoder"
REGRESSION_METHOD = "regression from the clip"
BEATS_METHOD = "beats of the LV size over time"
R_WAVE_METHODS = {RWaveSource.FILE: "R waves of the file", RWaveSource.ECG_TRACE: "R waves of the ECG trace"}

NOT_OUTLINED = "the LV was not outlined at both ends of any beat"

_USELESS_HALF_INTERVAL = 25.0  # points: an EF known no better than this has no confidence
_LEAST_CONFIDENCE = 0.05
_LEAST_RELATIVE_OVERLAP = 0.7  # of the median predicted overlap of the clip
_REACH_S = 0.05  # how far from the end of a beat the outlined frame may lie that stands for it


@dataclass(frozen=True, eq=False)
class LvCycle:
    """Size of the LV over frames.

    Attributes:
        frames: native frame numbers, ascending.
        times_s: their times.
        sizes: volume (mL, or cubic pixels), area (square pixels) or relative volume, by ``method``; NaN where unknown.
        method: what ``sizes`` are.
        smoothed: ``sizes`` with gaps filled, outlying frames replaced and smoothed; None where too few are known.
        cycles: the beats, with frame indices into ``frames``; None where none can be looked for. Their ED and ES are
            frames on which the LV was measured.
        reason: why there are no beats; empty when there are.
        shapes: LV shapes by native frame, for the method of discs.
        ed_marks: native end-diastolic frames that a person marked; None where nobody did.
        es_marks: native end-systolic frames that a person marked; None where nobody did.
    """

    frames: tuple[int, ...]
    times_s: tuple[float, ...]
    sizes: Float[np.ndarray, "frames"]
    method: str
    smoothed: Float[np.ndarray, "frames"] | None
    cycles: CardiacCycles | None
    reason: str
    shapes: dict[int, LvShape] = field(default_factory=dict)
    ed_marks: tuple[int, ...] | None = None
    es_marks: tuple[int, ...] | None = None

    @property
    def is_marked(self) -> bool:
        """Whether a person marked end-diastole or end-systole."""
        return self.ed_marks is not None or self.es_marks is not None

    @property
    def beats(self) -> tuple[Beat, ...]:
        """The beats over which values are averaged: only the most reliable kind available.

        An end-diastole on the first frame, or an end-systole on the last, may be due to the cut of the clip and not to
        the size of the LV. Such beats count only if there is no other, or if a person marked them.
        """
        found = self.cycles.beats if self.cycles else ()
        if self.is_marked:
            return tuple(beat for beat in found if beat.is_complete) or found
        whole = tuple(beat for beat in found if beat.ed_frame > 0 and beat.es_frame < len(self.frames) - 1)
        sound = whole or found
        return tuple(beat for beat in sound if beat.is_complete) or sound

    @property
    def ed_frames(self) -> tuple[int, ...]:
        """Native end-diastolic frame of every beat."""
        if self.ed_marks is not None:
            return self.ed_marks
        return tuple(self.frames[index] for index in self.cycles.ed_frames) if self.cycles else ()

    @property
    def es_frames(self) -> tuple[int, ...]:
        """Native end-systolic frame of every beat."""
        if self.es_marks is not None:
            return self.es_marks
        return tuple(self.frames[index] for index in self.cycles.es_frames) if self.cycles else ()

    @property
    def averaged_ed_frames(self) -> tuple[int, ...]:
        """Native end-diastolic frames of the beats that values are averaged over, or those that a person marked."""
        if not self.beats and self.ed_marks:
            return self.ed_marks
        return tuple(self.frames[beat.ed_frame] for beat in self.beats)

    @property
    def averaged_es_frames(self) -> tuple[int, ...]:
        """Native end-systolic frames of the beats that values are averaged over."""
        return tuple(self.frames[beat.es_frame] for beat in self.beats)

    @property
    def largest_frame(self) -> int | None:
        """Native frame with the largest LV, used as end-diastole if no beat was found."""
        return self.frames[int(np.nanargmax(self.sizes))] if np.isfinite(self.sizes).any() else None

    def volume_curve(self) -> VolumeCurve | None:
        """The smoothed volume over the measured frames; None if sizes are no volumes or too few are known.

        A frame whose LV was not measured has no point; nothing is interpolated.
        """
        if self.smoothed is None or self.method == AREA_METHOD:
            return None
        known = np.flatnonzero(np.isfinite(self.sizes))
        volumes = np.maximum(self.smoothed[known], 0)
        largest = float(volumes.max())
        if largest <= 0:
            return None
        calibrated = self.method == DISCS_METHOD and all(shape.is_calibrated for shape in self.shapes.values())
        return VolumeCurve(
            frames=tuple(self.frames[index] for index in known),
            times_s=tuple(self.times_s[index] for index in known),
            relative=tuple((volumes / largest).tolist()),
            ml=tuple(volumes.tolist()) if calibrated else None,
            ed_frames=self.ed_frames,
            es_frames=self.es_frames,
            method=self.method,
        )


def follow_outlines(
    reading: ClipReading, outlines: ClipOutlines, relative_volume: Float[np.ndarray, "rows"] | None = None
) -> LvCycle:
    """Follow the LV cavity over the outlined frames: by discs in apical views, by its area in others.

    Args:
        reading: the clip.
        outlines: its label maps. Frames whose outline the decoder itself doubts, or whose LV no heart could reach from
            the frames beside them, leave a gap.
        relative_volume: the volume curve of the ejection fraction decoder over all prepared rows. Beats are then looked
            for in the mean of both curves, so that noise of the outlines alone does not choose its own extremes.
    """
    frames = outlines.labels.frames
    doubtful = doubtful_frames(outlines, Structure.LV_CAVITY)
    by_discs = reading.view.shows_whole_lv_long_axis
    shapes: dict[int, LvShape] = {}
    sizes = np.full(len(frames), np.nan)
    for index, frame in enumerate(frames):
        if frame in doubtful:
            continue
        labels = outlines.labels[frame]
        if not by_discs:
            area = float(np.count_nonzero(labels == Structure.LV_CAVITY))
            sizes[index] = area if area > 0 else np.nan
            continue
        try:
            shapes[frame] = lv_shape(reading, labels)
        except MeasureError:  # no LV on this frame: a gap in the curve
            continue
        sizes[index] = single_plane_volume(shapes[frame])
    method = DISCS_METHOD if by_discs else AREA_METHOD
    for index in np.flatnonzero(impossible_jumps(_times(reading, frames), sizes)).tolist():
        if Structure.LV_CAVITY in outlines.corrected.get(frames[index], ()):
            continue
        sizes[index] = np.nan
        shapes.pop(frames[index], None)
    timing = sizes / np.nanmax(sizes) if np.isfinite(sizes).any() else sizes
    if relative_volume is not None:
        known = np.array([relative_volume[reading.row_of(frame)] for frame in frames])
        timing = np.where(np.isfinite(timing), (timing + known) / 2, known)
    cycle = _with_beats(reading, LvCurve(frames, sizes, timing, method), shapes)
    return keep_measured_beats(cycle, [frame for frame, size in zip(frames, sizes, strict=True) if np.isfinite(size)])


def follow_decoder(reading: ClipReading, relative_volume: Float[np.ndarray, "frames"]) -> LvCycle:
    """Follow the LV by the volume curve that the ejection fraction decoder predicts for every prepared frame."""
    sizes = np.asarray(relative_volume, dtype=np.float64)
    return _with_beats(reading, LvCurve(reading.clip.frame_indices, sizes, sizes, DECODER_METHOD), {})


def take_shapes(cycle: LvCycle, reading: ClipReading, outlines: ClipOutlines) -> LvCycle:
    """A cycle of the decoder's curve with the LV shapes of its ED and ES frames, and the beats that have both."""
    doubtful = doubtful_frames(outlines, Structure.LV_CAVITY)
    shapes: dict[int, LvShape] = {}
    for frame in outlines.labels.frames:
        try:
            if frame not in doubtful:
                shapes[frame] = lv_shape(reading, outlines.labels[frame])
        except MeasureError:  # no LV on this frame: its beat has no discs
            continue
    return keep_measured_beats(replace(cycle, shapes=shapes), shapes)


def keep_measured_beats(cycle: LvCycle, measured: Collection[int]) -> LvCycle:
    """Keep only the beats whose ED and ES are native frames on which the LV was measured.

    An end between two measured frames moves to the nearest within a twentieth of a second; else its beat is dropped.
    What a person marked stays.
    """
    if cycle.cycles is None or not cycle.cycles.beats or cycle.is_marked:
        return cycle
    known = [index for index, frame in enumerate(cycle.frames) if frame in measured]
    moved = [_moved(beat, cycle, known) for beat in cycle.cycles.beats]
    beats = tuple(beat for beat in moved if beat is not None)
    cycles = replace(cycle.cycles, beats=beats)
    return replace(cycle, cycles=cycles, reason=cycle.reason if beats else NOT_OUTLINED)


def _moved(beat: Beat, cycle: LvCycle, known: Sequence[int]) -> Beat | None:
    """The beat with its ends on measured frames; None if there are none near, or if it no longer ejects."""
    assert cycle.cycles is not None
    ends = []
    for wanted in (beat.ed_frame, beat.es_frame):
        near = min(known, key=lambda index: abs(cycle.times_s[index] - cycle.times_s[wanted]), default=None)
        if near is None or abs(cycle.times_s[near] - cycle.times_s[wanted]) > _REACH_S:
            return None
        ends.append(near)
    if ends == [beat.ed_frame, beat.es_frame]:
        return beat
    volumes = (float(cycle.cycles.smoothed[ends[0]]), max(0.0, float(cycle.cycles.smoothed[ends[1]])))
    try:
        ef = ejection_fraction_percent(*volumes)
    except MeasureError:
        return None
    return Beat(ends[0], ends[1], beat.next_ed_frame, *volumes, ef)


def lv_shape(reading: ClipReading, labels: np.ndarray) -> LvShape:
    """Long axis and discs of the LV on one apical frame; whether the sector cuts it off is asked by ``is_lv_cut_off``.

    Raises:
        MeasureError: there is no LV, or it is too small.
    """

    def measured() -> LvShape:
        cavity, atrium = labels == Structure.LV_CAVITY, labels == Structure.LEFT_ATRIUM
        return measure_lv_shape(cavity, reading.header.spacing, atrium, probe_xy=probe_point(reading))

    if isinstance(reading.interpreter, Corrector):
        found: LvShape = reading.interpreter.recall((hash(labels.tobytes()), reading.header.spacing), measured)
        return found
    return measured()


def probe_point(reading: ClipReading) -> tuple[float, float] | None:
    """Position of the transducer in native pixels: the middle of the sector's upper edge; None without a sector."""
    sector = reading.clip.sector
    return ((sector.box_xyxy[0] + sector.box_xyxy[2]) / 2 - 0.5, sector.box_xyxy[1]) if sector else None


def is_lv_cut_off(reading: ClipReading, shape: LvShape) -> bool:
    """Whether the LV reaches the edge of the sector or image, so that part of it was not imaged."""
    return is_cut_off(shape.outline_xy, reading.header.size, reading.clip.sector)


def doubtful_frames(outlines: ClipOutlines, structure: Structure) -> frozenset[int]:
    """Frames whose outline of a structure the decoder expects to overlap far less than is usual in this clip.

    An outline of a person is in no doubt.
    """
    overlaps = {
        frame: by_structure[structure] for frame, by_structure in outlines.overlaps.items() if structure in by_structure
    }
    if not overlaps:
        return frozenset()
    least = _LEAST_RELATIVE_OVERLAP * float(np.median(list(overlaps.values())))
    doubtful = (frame for frame, overlap in overlaps.items() if overlap < least)
    return frozenset(frame for frame in doubtful if structure not in outlines.corrected.get(frame, ()))


def curve_points(curve: VolumeCurve) -> tuple[VolumePoint, ...]:
    """A volume curve for the report."""
    volumes_ml: Sequence[float | None] = curve.ml or [None] * len(curve.frames)
    return tuple(
        VolumePoint(frame=frame, time_s=round(time, 5), relative=round(relative, 5), ml=ml and round(ml, 3))
        for frame, time, relative, ml in zip(curve.frames, curve.times_s, curve.relative, volumes_ml, strict=True)
    )


def measure_regression_ef(reading: ClipReading, estimate: EjectionEstimate, cycle: LvCycle) -> Measurement:
    """The ejection fraction that the spatiotemporal decoder predicts from the whole clip.

    Its confidence falls linearly with the half-width of its interval, to 0 at 25 points.
    """
    half = (estimate.interval[1] - estimate.interval[0]) / 2
    confidence = float(np.clip(1 - half / _USELESS_HALF_INTERVAL, _LEAST_CONFIDENCE, 1))
    flags = [*reading.flags]
    if reading.header.frame_count == 1:
        flags.append(Flag.SINGLE_FRAME)
    elif cycle.cycles is None or not any(beat.is_complete for beat in cycle.beats):
        flags.append(Flag.INCOMPLETE_BEAT)
    frames = tuple(sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames}))
    return Measurement(
        quantity=Quantity.LVEF,
        value=estimate.ef_percent,
        interval=estimate.interval,
        method=REGRESSION_METHOD,
        confidence=confidence,
        flags=tuple(flags),
        evidence=(reading.evidence(frames),),
        details={"view": reading.view.value},
    )


def measure_heart_rate(reading: ClipReading, cycle: LvCycle) -> Measurement | None:
    """Heart rate: from the header, else from R waves (of the file or its ECG), else from the beats of the LV.

    ``details`` hold the marks from which the rate was computed. A header that contradicts the beats is flagged.
    """
    marks = cycle.cycles.rate_marks if cycle.cycles is not None else None
    if marks is not None and not marks.frames:
        method = R_WAVE_METHODS[r_waves_of(reading.header)[1] or RWaveSource.FILE]
    else:
        method = BEATS_METHOD
        marks = marks if reading.header.frame_times_known else None
    told = _told_by(marks, cycle)
    rate, flags = reading.header.heart_rate_bpm, list(reading.flags)
    frames: tuple[int, ...] = ()
    if rate is not None:
        if marks is not None and abs(marks.rate_bpm - rate) > LARGEST_RATE_DIFFERENCE * rate:
            flags.append(Flag.METHODS_DISAGREE)
            told |= {"rate_of_marks": round(marks.rate_bpm, 2)}
        else:
            told = {}
        method = "header"
    elif marks is not None:
        rate, frames = marks.rate_bpm, _native_frames(marks, cycle)
    else:
        return None
    return Measurement(
        quantity=Quantity.HEART_RATE,
        value=rate,
        method=method,
        flags=tuple(flags),
        evidence=(reading.evidence(frames),),
        details=told,
    )


def _native_frames(marks: RateMarks, cycle: LvCycle) -> tuple[int, ...]:
    return tuple(sorted({cycle.frames[index] for pair in marks.frames for index in pair}))


def _told_by(marks: RateMarks | None, cycle: LvCycle) -> dict[str, object]:
    """Kind of the marks, intervals between them, and the native frames at both ends of each."""
    if marks is None:
        return {}
    ends = [[cycle.frames[first], cycle.frames[second]] for first, second in marks.frames]
    return {"marks": marks.kind, "intervals_s": list(marks.intervals_s), "interval_frames": ends}


@dataclass(frozen=True, eq=False)
class LvCurve:
    """Measured sizes of the LV over frames, and the curve in which beats are searched."""

    frames: tuple[int, ...]
    sizes: Float[np.ndarray, "frames"]
    timing: Float[np.ndarray, "frames"]
    method: str


def _times(reading: ClipReading, frames: Sequence[int]) -> Float[np.ndarray, "frames"]:
    return np.array([reading.header.frame_times_s[frame] for frame in frames])


def _with_beats(reading: ClipReading, curve: LvCurve, shapes: dict[int, LvShape]) -> LvCycle:
    times = _times(reading, curve.frames)
    cycles, smoothed, period_s = None, None, None
    try:
        cycles = detect_cardiac_cycles(times, curve.timing, r_waves_of(reading.header)[0])
        reason = cycles.reason
        period_s = 60 / cycles.heart_rate_bpm if cycles.heart_rate_bpm else None
    except MeasureError as error:
        reason = str(error)
    with suppress(MeasureError):  # too few frames were measured: there are beats perhaps, but no curve
        smoothed = condition_volumes(times, curve.sizes, period_s).smoothed
    return LvCycle(curve.frames, tuple(times.tolist()), curve.sizes, curve.method, smoothed, cycles, reason, shapes)
