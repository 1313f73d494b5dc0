"""Analyses one clip: gate, prepare, encode once, then view, outlines, volumes, chambers, walls.

Not every frame is outlined: enough for whole beats at the full frame rate, up to a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from echoapex.data.preprocess import BLANK_CONTRAST, PreparedClip, assess_image, prepare_frames
from echoapex.domain import ClipHeader, ClipReport, Landmarks, Measurement, Sector, ViewPrediction
from echoapex.domain.ecg import report_ecg
from echoapex.domain.results import VolumePoint
from echoapex.infer.clip.chambers import measure_chambers, measure_discs, why_no_discs
from echoapex.infer.clip.cycle import (
    LvCycle,
    curve_points,
    follow_decoder,
    follow_outlines,
    measure_heart_rate,
    measure_regression_ef,
    take_shapes,
)
from echoapex.infer.clip.models import Corrector, EchoDoubter, Interpreter
from echoapex.infer.clip.outlines import ClipOutlines, LabelMaps, outline_structures
from echoapex.infer.clip.reading import (
    AnalysisOptions,
    ClipReading,
    overall_quality,
    r_waves_of,
    reason_to_abstain,
    reason_to_set_aside,
    restrict_view,
    sign_loop,
)
from echoapex.infer.clip.rv_diameter import NO_DIAMETER, measure_rv_diameter_of_clip
from echoapex.infer.clip.walls import find_landmarks, hidden_by_colour, measure_wall_thickness
from echoapex.io.clip_source import ClipSource
from echoapex.measure import MeasureError
from echoapex.measure.combine import flag_implausible
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View

SPAN_S = 3.0
"""Length of clip that is outlined: at least two beats from 60 per minute upwards, one from 40."""
_FEW_ROWS = 12
"""Number of rows from which ED is found in views without a volume decoder, if only ED and ES are outlined."""
LEARNED_DOUBT = "no echocardiogram: it is unlike the echocardiograms from which the models have learned"
COLOUR_NOTE = "colour Doppler: the view is read; volumes and ejection fraction are not measured under colour"


def choose_cycle_rows(times_s: Sequence[float], limit: int) -> tuple[int, ...]:
    """Rows of a clip to outline: all, or the first three seconds evenly strided down to ``limit``.

    A contiguous span keeps beats whole; a stride over a long clip would take one frame of every beat.

    >>> choose_cycle_rows([0.0, 0.1, 0.2], 10)
    (0, 1, 2)
    >>> rows = choose_cycle_rows([i * 0.02 for i in range(2000)], 96)
    >>> rows[:3], len(rows)
    ((0, 2, 4), 76)

    Args:
        times_s: times of the rows, increasing.
        limit: most rows to return, at least 1.
    """
    if len(times_s) <= limit:
        return tuple(range(len(times_s)))
    within = sum(1 for time in times_s if time - times_s[0] <= SPAN_S)
    within = max(within, min(limit, len(times_s)))
    return tuple(range(0, within, math.ceil(within / limit)))


@dataclass(frozen=True, eq=False)
class ClipAnalysis:
    """The results of one clip, with everything needed to draw it.

    Attributes:
        report: the answer.
        header: of the source.
        sector: the ultrasound area in native pixels; None when the whole image was used or nothing was read.
        labels: label maps by native frame.
        landmarks: wall end points on PLAX.
        signature: perceptual hash of the frames; empty of what was not read.
    """

    report: ClipReport
    header: ClipHeader
    sector: Sector | None
    labels: LabelMaps
    landmarks: tuple[Landmarks, ...] = ()
    signature: tuple[str, ...] = ()


@dataclass
class _Findings:
    """What accumulates while a clip is measured."""

    outlines: ClipOutlines
    cycle: LvCycle
    landmarks: tuple[Landmarks, ...] = ()
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def analyze_clip(
    source: ClipSource | PreparedClip,
    name: str,
    interpreter: Interpreter,
    options: AnalysisOptions,
    outlined_frames: Sequence[int] = (),
) -> ClipAnalysis:
    """Analyse one clip.

    Args:
        source: the clip; one that is already prepared for these models is not decoded again.
        name: its file name as it is to be reported.
        interpreter: the models.
        options: choices of the analysis.
        outlined_frames: native frames that are outlined in addition; nothing is measured on them because of that.

    Raises:
        ReadError: a frame cannot be decoded.
    """
    header = source.header
    reason = reason_to_set_aside(header)
    if reason:
        return _set_aside(header, name, reason)
    if isinstance(source, PreparedClip):
        clip = source
    else:
        clip = prepare_frames(source, interpreter.input_size, max_frames=options.max_encoded_frames)
    image = assess_image(clip.pixels)
    if image.contrast < BLANK_CONTRAST:
        return _set_aside(clip.header, name, "the image is nearly blank", clip.sector)
    encoded = interpreter.encode(clip.pixels, clip.frame_times_s)
    if isinstance(interpreter, EchoDoubter) and interpreter.doubts_echo(encoded):
        return _set_aside(clip.header, name, LEARNED_DOUBT)
    view = restrict_view(interpreter.classify_view(encoded), options.probe)
    reason = reason_to_abstain(clip, image, view)
    if reason:
        quality = overall_quality(image, view, ())
        return _set_aside(clip.header, name, reason, clip.sector, view, quality)
    reading = ClipReading(clip, encoded, view, interpreter)
    findings = _measure(reading, options)
    overlaps = findings.outlines.mean_overlaps()
    # after measuring, since single frames far apart are no part of a beat
    outline_structures(reading, [reading.row_of(frame) for frame in outlined_frames], findings.outlines)
    report = _describe(
        clip.header,
        name,
        view=view.view,
        view_probabilities=_rounded(view),
        quality=round(overall_quality(image, view, overlaps.values()), 4),
        ed_frames=findings.cycle.ed_frames,
        es_frames=findings.cycle.es_frames,
        volume_curve=_curve(findings.cycle),
        structures={structure.key: round(overlap, 4) for structure, overlap in overlaps.items()},
        measurements=tuple(flag_implausible(item) for item in findings.measurements),
        notes=findings.notes,
    )
    return ClipAnalysis(
        report, clip.header, clip.sector, findings.outlines.labels, findings.landmarks, sign_loop(clip.pixels)
    )


def _measure(reading: ClipReading, options: AnalysisOptions) -> _Findings:
    """Outline, follow and measure a clip by its view."""
    if reading.view.shows_whole_lv_long_axis:
        return _measure_apical(reading, options)
    limit = options.max_segmented_frames if options.contours == "cycle" else _FEW_ROWS
    outlines = _outline_cycle(reading, choose_cycle_rows(reading.clip.frame_times_s, limit))
    cycle = _with_marks(reading, follow_outlines(reading, outlines))
    findings = _Findings(outlines, cycle)
    if reading.clip.colour is not None:
        findings.notes.append(COLOUR_NOTE)
    if Structure.LV_CAVITY in VISIBLE_STRUCTURES[reading.view]:
        _add_heart_rate(reading, findings)
    if reading.view is View.PLAX:
        findings.landmarks = find_landmarks(reading, cycle)
        findings.measurements += measure_wall_thickness(reading, cycle, findings.landmarks)
        findings.measurements += measure_chambers(reading, cycle, outlines)
        _add_rv_diameter(reading, findings)
        if reading.header.spacing is None:
            findings.notes.append(f"no wall thickness in mm: {reading.header.spacing_reason}")
        elif hidden := hidden_by_colour(reading, findings.landmarks):
            findings.notes.append(f"not measured: {', '.join(hidden)}; an end point lies under colour Doppler")
    return findings


def _measure_apical(reading: ClipReading, options: AnalysisOptions) -> _Findings:
    """Volumes and ejection fraction of an apical four- or two-chamber clip."""
    rows = choose_cycle_rows(reading.clip.frame_times_s, options.max_segmented_frames)
    if reading.clip.colour is not None:
        outlines = _outline_cycle(reading, rows)
        return _Findings(outlines, _with_marks(reading, follow_outlines(reading, outlines)), notes=[COLOUR_NOTE])
    estimate = reading.interpreter.estimate_ejection_fraction(reading.encoded)
    if options.contours == "cycle":
        outlines = _outline_cycle(reading, rows)
        cycle = _with_marks(reading, follow_outlines(reading, outlines, estimate.relative_volume))
    else:
        cycle = _with_marks(reading, follow_decoder(reading, estimate.relative_volume))
        outlines, cycle = _outline_ends(reading, cycle)
    findings = _Findings(outlines, cycle)
    if reading.header.frame_count > 1:
        findings.measurements.append(measure_regression_ef(reading, estimate, cycle))
    else:
        findings.notes.append("a single frame has no ejection fraction")
    discs = measure_discs(reading, cycle, outlines)
    findings.measurements += discs
    if not discs:
        findings.notes.append(f"no discs: {why_no_discs(cycle)}")
    elif reading.header.spacing is None:
        findings.notes.append(f"no volumes in mL: {reading.header.spacing_reason}")
    findings.measurements += measure_chambers(reading, cycle, outlines)
    _add_heart_rate(reading, findings)
    return findings


def _outline_cycle(reading: ClipReading, rows: Sequence[int]) -> ClipOutlines:
    """Outline the rows of the cycle, then the frames that a person marked; these do not steady the others."""
    outlines = outline_structures(reading, rows)
    if isinstance(reading.interpreter, Corrector):
        marked = [reading.row_of(frame) for frame in reading.interpreter.marked_frames]
        outline_structures(reading, marked, outlines)
    return outlines


def _with_marks(reading: ClipReading, cycle: LvCycle) -> LvCycle:
    """The cycle with the beats that a person marked, if anybody did."""
    return reading.interpreter.correct_cycle(cycle) if isinstance(reading.interpreter, Corrector) else cycle


def _outline_ends(reading: ClipReading, cycle: LvCycle) -> tuple[ClipOutlines, LvCycle]:
    """Outline the ED and ES frames alone; the cycle keeps the beats that have both."""
    frames = sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames})
    largest = cycle.largest_frame
    if not frames and largest is not None:
        frames = [largest]
    outlines = outline_structures(reading, [reading.row_of(frame) for frame in frames])
    return outlines, take_shapes(cycle, reading, outlines)


def _add_rv_diameter(reading: ClipReading, findings: _Findings) -> None:
    """RVIDd, or a note why there is none."""
    try:
        found = measure_rv_diameter_of_clip(reading, findings.cycle, findings.landmarks, findings.outlines)
    except MeasureError as reason:
        findings.notes.append(f"{NO_DIAMETER}{reason}")
    else:
        findings.measurements.append(found)


def _add_heart_rate(reading: ClipReading, findings: _Findings) -> None:
    rate = measure_heart_rate(reading, findings.cycle)
    if rate is not None:
        findings.measurements.append(rate)


def _curve(cycle: LvCycle) -> tuple[VolumePoint, ...]:
    curve = cycle.volume_curve()
    return curve_points(curve) if curve else ()


def _rounded(view: ViewPrediction) -> dict[View, float]:
    return {name: round(probability, 6) for name, probability in view.probabilities.items()}


def _set_aside(
    header: ClipHeader,
    name: str,
    reason: str,
    sector: Sector | None = None,
    view: ViewPrediction | None = None,
    quality: float | None = None,
) -> ClipAnalysis:
    probabilities = _rounded(view) if view else {}
    report = _describe(header, name, set_aside=reason, view_probabilities=probabilities, quality=quality)
    return ClipAnalysis(report, header, sector, LabelMaps(header.size))


def _describe(header: ClipHeader, name: str, notes: Sequence[str] = (), **found: object) -> ClipReport:
    """The report of a clip: what the header says, and what was found."""
    spacing, (r_waves, source) = header.spacing, r_waves_of(header)
    input_notes = (f"input: {flag.replace('_', ' ')}" for flag in header.flags)
    known = {
        "clip_id": header.clip_id,
        "file": name,
        "frames": header.frame_count,
        "size": header.size,
        "content": header.content.value,
        "row_mm": spacing.row_mm if spacing else None,
        "column_mm": spacing.column_mm if spacing else None,
        "spacing_reason": header.spacing_reason,
        "frame_rate_hz": _frame_rate(header),
        "r_wave_times_s": r_waves,
        "r_wave_source": source,
        "ecg": report_ecg(header.ecg, _end_of(header)) if header.ecg else None,
        "input_sha256": header.source.get("sha256", ""),
        "notes": (*input_notes, *notes),
    }
    return ClipReport.model_validate(known | found)


def _end_of(header: ClipHeader) -> float:
    """When the last frame gives way to the first, in s."""
    times = header.frame_times_s
    return times[-1] + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)


def _frame_rate(header: ClipHeader) -> float | None:
    """Median frame rate; None for a still, or if the rate was assumed."""
    if header.frame_count < 2 or not header.frame_times_known:
        return None
    return round(1 / float(np.median(np.diff(header.frame_times_s))), 3)
