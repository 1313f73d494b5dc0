"""One clip computed again with a person's corrections, in a fraction of a second.

The clip is decoded and prepared once, and what the models answered is kept. Every recomputation then goes through the
same function as the first analysis. What rests on a correction says so in its details.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from echoapex.data.preprocess import SECTOR_NOT_FOUND, PreparedClip, prepare_frames
from echoapex.domain import ClipHeader, ClipReport, ContentKind, Measurement
from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import ClipAnalysis, analyze_clip
from echoapex.infer.clip.cycle import LvCycle
from echoapex.infer.clip.models import Interpreter
from echoapex.infer.clip.reading import AnalysisOptions, reason_to_set_aside
from echoapex.infer.review.corrected_models import CorrectedModels, LabelMap, RememberedAnswers
from echoapex.io.clip_source import ClipSource, ReadFlag
from echoapex.vocabulary import Quantity

CORRECTED = "corrected_by_person"
"""Key of ``Measurement.details``: what of a value a person has corrected."""
SET_ASIDE_BY_PERSON = "set aside by a person"
_OF_WALL_POINTS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD, Quantity.RVIDD)
_NOT_OF_MARKS = (Quantity.LVEF, Quantity.HEART_RATE)
"""Values that do not rest on the marked ends of beats."""


class ReviewError(ValueError):
    """A correction or a question that does not suit its clip; the message says what to change."""


class ClipRecomputation:
    """A prepared clip whose analysis can be repeated with corrections; safe to use from several threads.

    Args:
        models: what read the clip.
        source: the clip.
        options: of the analysis that is corrected.
        clip_id: the name of the clip in the results; by default that of the source.

    Raises:
        ReadError: a frame cannot be decoded.
    """

    def __init__(
        self,
        models: Interpreter,
        source: ClipSource,
        options: AnalysisOptions | None = None,
        clip_id: str | None = None,
    ) -> None:
        self.options = options or AnalysisOptions()
        self.answers = RememberedAnswers(models)
        prepared = prepare_frames(source, models.input_size, max_frames=self.options.max_encoded_frames)
        named = prepared.header if clip_id is None else replace(prepared.header, clip_id=clip_id)
        self.prepared = replace(prepared, header=named)
        self._flags = source.header.flags
        self._lock = threading.RLock()
        self._automatic: ClipAnalysis | None = None
        self._cycles: dict[str, LvCycle | None] = {}

    @property
    def header(self) -> ClipHeader:
        """Header of the clip, as its file has it."""
        return replace(self.prepared.header, flags=self._flags)

    @property
    def automatic(self) -> ClipAnalysis:
        """The analysis without any correction."""
        with self._lock:
            if self._automatic is None:
                self._automatic = self._analyze(ClipCorrection(clip_id=self.header.clip_id), {})
            return self._automatic

    def encoded(self) -> Any:
        """The clip, encoded once; opaque to all but its models."""
        with self._lock:
            return self.answers.encode(self.prepared.pixels, self.prepared.frame_times_s)

    def reanalyze(self, correction: ClipCorrection, label_maps: Mapping[int, LabelMap] | None = None) -> ClipAnalysis:
        """The analysis with corrections; with an empty one it equals the first analysis.

        Args:
            correction: what a person has corrected.
            label_maps: by native frame, the label maps with the outlines that ``correction.outlined`` names.

        Raises:
            ReviewError: the correction is of another clip, names a frame that there is not, or lacks a label map.
        """
        label_maps = label_maps or {}
        self._refuse_unsuitable(correction, label_maps)
        with self._lock:
            if correction.is_empty:
                return self.automatic
            found = self._analyze(correction, label_maps)
            return replace(found, report=self._told(found.report, correction))

    def _analyze(self, correction: ClipCorrection, label_maps: Mapping[int, LabelMap]) -> ClipAnalysis:
        clip = self._corrected_clip(correction)
        models = CorrectedModels(self.answers, clip, correction, label_maps, self._cycle_before(correction))
        drawn = sorted({*correction.outlined, *models.marked_frames})
        found = analyze_clip(clip, clip.header.clip_id, models, self.options, drawn)
        if correction.set_aside:
            aside = found.report.model_copy(update={"set_aside": SET_ASIDE_BY_PERSON, "measurements": ()})
            return replace(found, report=aside)
        # a loop that a person wants to be read is no copy of another
        return replace(found, signature=()) if correction.set_aside is False else found

    def _cycle_before(self, correction: ClipCorrection) -> LvCycle | None:
        """The cycle with all corrections but those of outlines; None where no outline was corrected."""
        if not correction.outlined:
            return None
        rest = correction.model_copy(update={"outlined": {}})
        key = rest.model_dump_json()
        if key not in self._cycles:
            clip = self._corrected_clip(rest)
            models = CorrectedModels(self.answers, clip, rest, {})
            analyze_clip(clip, clip.header.clip_id, models, self.options, models.marked_frames)
            self._cycles[key] = models.cycle
        return self._cycles[key]

    def _corrected_clip(self, correction: ClipCorrection) -> PreparedClip:
        """The clip with the header that the correction asks for."""
        header = self.prepared.header
        if correction.set_aside is False:
            kept = tuple(flag for flag in header.flags if flag != SECTOR_NOT_FOUND)
            header = replace(header, flags=kept, **_readable(header))
        elif reason_to_set_aside(header):  # set aside before anything is looked at, as its file has it
            header = self.header
        if correction.spacing is not None:
            flags = tuple(flag for flag in header.flags if flag != ReadFlag.CORRECTED_SPACING)
            origin = {**header.source, "calibration": correction.spacing_source}
            header = replace(header, spacing=correction.spacing, spacing_reason="", source=origin, flags=flags)
        return replace(self.prepared, header=header)

    def _refuse_unsuitable(self, correction: ClipCorrection, label_maps: Mapping[int, LabelMap]) -> None:
        header = self.prepared.header
        name = header.clip_id
        if correction.clip_id != name:
            raise ReviewError(f"{name}: the correction is of clip {correction.clip_id}; give that of this clip")
        digest = header.source.get("sha256", "")
        if correction.input_sha256 and digest and correction.input_sha256 != digest:
            raise ReviewError(f"{name}: the correction is of another file; correct this one anew")
        marked = (*(correction.ed_frames or ()), *(correction.es_frames or ()))
        for frame in (*marked, *correction.wall_points, *correction.outlined):
            self.row_of(frame)
        for frame in correction.outlined:
            labels = label_maps.get(frame)
            if labels is None or labels.shape != header.size or labels.dtype != "uint8":
                raise ReviewError(
                    f"{name}: frame {frame} was outlined, but there is no uint8 label map of {header.size} of it; "
                    "give the label maps of all outlined frames"
                )

    def row_of(self, frame: int) -> int:
        """The prepared row of a native frame.

        Raises:
            ReviewError: there is no such frame, or the analysis left it out of a very long clip.
        """
        frames, name = self.prepared.frame_indices, self.prepared.header.clip_id
        if not 0 <= frame < self.prepared.header.frame_count:
            last = self.prepared.header.frame_count - 1
            raise ReviewError(f"{name}: frame {frame} is not in the clip; it has the frames 0 to {last}")
        if frame not in frames:
            nearest = min(frames, key=lambda known: abs(known - frame))
            raise ReviewError(
                f"{name}: frame {frame} was left out, since the clip is very long; the nearest is {nearest}"
            )
        return frames.index(frame)

    def _told(self, report: ClipReport, correction: ClipCorrection) -> ClipReport:
        """The report with what a person has corrected: one note, and in the details of the values that rest on it."""
        before = {item.quantity: item for item in self.automatic.report.measurements}
        measurements = []
        for item in report.measurements:
            parts = corrected_parts(item, correction)
            first = before.get(item.quantity)
            if not parts and (first is None or not math.isclose(first.value, item.value, rel_tol=1e-9)):
                parts = ("beats",)  # a corrected outline moved the ends of the beats
            marked = {**item.details, CORRECTED: list(parts)}
            measurements.append(item.model_copy(update={"details": marked}) if parts else item)
        note = f"corrected by a person: {', '.join(describe_correction(correction))}"
        return report.model_copy(update={"measurements": tuple(measurements), "notes": (*report.notes, note)})


def _readable(header: ClipHeader) -> dict[str, Any]:
    """What lets the analysis read a clip whose header says that it is no tissue image."""
    return {"content": ContentKind.B_MODE, "content_reason": ""} if reason_to_set_aside(header) else {}


def corrected_parts(item: Measurement, correction: ClipCorrection) -> tuple[str, ...]:
    """What a person has corrected of that on which a value of the clip rests: ``view``, ``lv_cavity@12``."""
    parts = [] if correction.view is None else ["view"]
    if correction.spacing is not None and item.quantity.needs_spacing:
        parts.append("calibration")
    if item.quantity not in _NOT_OF_MARKS:
        parts += [] if correction.ed_frames is None else ["end-diastole"]
        parts += [] if correction.es_frames is None else ["end-systole"]
    drawn = {f"{key}@{frame}" for frame, keys in correction.outlined.items() for key in keys}
    parts += [key for evidence in item.evidence for key in evidence.contours_xy if key in drawn]
    if item.quantity in _OF_WALL_POINTS:
        parts += [f"wall_points@{frame}" for frame in sorted(correction.wall_points)]
    return tuple(dict.fromkeys(parts))


def describe_correction(correction: ClipCorrection) -> tuple[str, ...]:
    """What was corrected in a clip, in a few words each."""
    told = {
        f"view {correction.view}": correction.view is not None,
        "set aside": correction.set_aside is True,
        "read though it had been set aside": correction.set_aside is False,
        f"calibration {correction.spacing_source}": correction.spacing is not None,
        "end-diastole": correction.ed_frames is not None,
        "end-systole": correction.es_frames is not None,
        f"wall points of {len(correction.wall_points)} frames": bool(correction.wall_points),
        f"outlines of {len(correction.outlined)} frames": bool(correction.outlined),
    }
    return tuple(words for words, applies in told.items() if applies)
