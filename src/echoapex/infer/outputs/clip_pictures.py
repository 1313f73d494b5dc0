"""The pictures of one clip: ``overlays/<clip_id>.mp4`` and its tile of the preview, in one more pass over its frames.

Frames are streamed: only one is in memory at a time, however long the clip. Values are written as text and rounded as
clinicians write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from echoapex.domain import RV_ANTERIOR_BORDER, ClipReport, Landmarks, Measurement, WallPoint
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.frame_picture import (
    CurveStrip,
    Placement,
    draw_frame,
    draw_line,
    draw_outlines,
    draw_walls,
    sector_box,
)
from echoapex.io.clip_source import ClipSource
from echoapex.io.pictures import (
    BACKGROUND,
    ED_COLOUR,
    ES_COLOUR,
    MUTED,
    STRUCTURE_COLOURS,
    TEXT,
    Colour,
    Line,
    Pixels,
    blank,
    open_video_writer,
    shortened,
    write_lines,
)
from echoapex.io.temporary_files import replace_when_complete
from echoapex.vocabulary import Quantity, Structure

_SHORT = {
    Quantity.LVEF: "EF",
    Quantity.LVEF_DISCS: "EF discs",
    Quantity.EDV: "EDV",
    Quantity.ESV: "ESV",
    Quantity.IVSD: "IVSd",
    Quantity.LVIDD: "LVIDd",
    Quantity.LVPWD: "LVPWd",
    Quantity.LV_MASS: "LV mass",
    Quantity.LV_MASS_INDEX: "LV mass index",
    Quantity.RWT: "RWT",
    Quantity.EDV_INDEX: "EDV index",
    Quantity.ESV_INDEX: "ESV index",
    Quantity.BSA: "BSA",
    Quantity.HEART_RATE: "HR",
    Quantity.LV_LENGTH: "LV length",
    Quantity.SPHERICITY_INDEX: "Sphericity",
    Quantity.GLS_ENDOCARDIAL: "GLS (contour)",
    Quantity.STROKE_VOLUME: "SV (discs)",
    Quantity.STROKE_VOLUME_INDEX: "SV index",
    Quantity.CARDIAC_OUTPUT: "CO (discs)",
    Quantity.CARDIAC_INDEX: "Cardiac index",
    Quantity.LA_VOLUME: "LA volume",
    Quantity.LA_VOLUME_AREA_LENGTH: "LA volume (A-L)",
    Quantity.LA_VOLUME_INDEX: "LAVI",
    Quantity.LA_DIAMETER: "LA diameter",
    Quantity.RA_VOLUME: "RA volume",
    Quantity.RA_VOLUME_INDEX: "RAVI",
    Quantity.RVIDD: "RVIDd",
    Quantity.RV_ED_AREA: "RV EDA",
    Quantity.RV_ES_AREA: "RV ESA",
    Quantity.RV_FAC: "RV FAC",
}
_DECIMALS = {
    Quantity.RWT: 2,
    Quantity.BSA: 2,
    Quantity.SPHERICITY_INDEX: 2,
    Quantity.IVSD: 1,
    Quantity.LVPWD: 1,
    Quantity.CARDIAC_OUTPUT: 1,
    Quantity.CARDIAC_INDEX: 1,
    Quantity.RV_ED_AREA: 1,
    Quantity.RV_ES_AREA: 1,
}
LOOK_TWICE = "* look twice"
"""Explanation of the asterisk of a flagged value."""
_UNITS = {"1": ""}  # UCUM says 1 where there is no unit
OVERLAY_FOLDER = "overlays"
TILE_FOLDER = "clips"
TILE_HEIGHT, TILE_WIDTH = 250, 500
"""Size of a picture on the preview in pixels: ED and ES side by side."""
TILE_SCALE = 2
"""The stored picture is larger than on the preview by this factor, for reports."""
_IMAGE_HEIGHT, _IMAGE_WIDTH = 480, 640
_HEADER_HEIGHT, _STRIP_HEIGHT = 74, 116
_STILL_RATE_HZ = 5.0
Frame = UInt8[np.ndarray, "height width *channels"]


def short_name(quantity: Quantity) -> str:
    """The abbreviation of the guideline."""
    return _SHORT[quantity]


def value_text(measurement: Measurement) -> str:
    """``56 %``, ``9.6 mm``; flagged values carry an asterisk."""
    unit = _UNITS.get(measurement.unit, measurement.unit)
    star = "*" if measurement.flags else ""
    return f"{number_text(measurement)}{' ' + unit if unit else ''}{star}"


def number_text(measurement: Measurement) -> str:
    """The value alone, rounded as clinicians write it: ``56``, ``9.6``."""
    return f"{measurement.value:.{_DECIMALS.get(measurement.quantity, 0)}f}"


def interval_text(measurement: Measurement) -> str:
    """The 95 % interval, rounded as the value: ``10 to 24``; empty where there is none."""
    if measurement.interval is None:
        return ""
    decimals = _DECIMALS.get(measurement.quantity, 0)
    low, high = measurement.interval
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def value_line(measurements: Iterable[Measurement], quantities: Sequence[Quantity]) -> str:
    """The available values of some quantities on one line."""
    by_quantity = {item.quantity: item for item in measurements}
    found = [by_quantity[quantity] for quantity in quantities if quantity in by_quantity]
    return "    ".join(f"{short_name(item.quantity)} {value_text(item)}" for item in found)


def view_text(clip: ClipReport) -> str:
    """The view with its probability, or a text that there is none."""
    if clip.set_aside:
        return "Set aside"
    if clip.view is None:
        return "No view"
    return f"{clip.view.display_name}  {100 * clip.view_probabilities.get(clip.view, 0):.0f} %"


def clip_lines(clip: ClipReport) -> tuple[str, ...]:
    """Text below the picture of a clip: one or two lines of values, or why it was set aside."""
    if clip.set_aside:
        return (clip.set_aside,)
    functional = value_line(clip.measurements, (Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV))
    walls = value_line(clip.measurements, (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD, Quantity.RVIDD))
    rate = value_line(clip.measurements, (Quantity.HEART_RATE,))
    return tuple(line for line in (functional, walls, rate) if line)[:2]


def draw_clip(source: ClipSource, analysis: ClipAnalysis, out: Path, options: AnalysisOptions) -> list[Path]:
    """Write the overlay video and the preview tile of a clip (only the tile if it was set aside); returns the files.

    Raises:
        ReadError: a frame cannot be decoded any more.
    """
    painter = ClipPainter(analysis, show_all_pixels=options.keep_identifiers)
    clip_id = analysis.report.clip_id
    tile = TilePictures(painter)
    written: list[Path] = []
    with ExitStack() as stack:
        write: Callable[[Pixels], None] | None = None
        if options.overlays and not analysis.report.set_aside:
            path = out / OVERLAY_FOLDER / f"{clip_id}.mp4"
            rate = analysis.report.frame_rate_hz or (1 / _median_step(analysis))
            write = stack.enter_context(open_video_writer(path, painter.video_size, rate))
            written.append(path)
        for index, frame in enumerate(source.frames()):
            if index >= analysis.report.frames:
                break
            tile.see(index, frame)
            if write is not None:
                write(painter.video_frame(index, frame))
            elif tile.is_complete:
                break
    path = out / TILE_FOLDER / f"{clip_id}.png"
    with replace_when_complete(path) as partial:
        Image.fromarray(tile.picture()).save(partial, format="png")
    return [*written, path]


def _median_step(analysis: ClipAnalysis) -> float:
    times = analysis.header.frame_times_s
    return float(np.median(np.diff(times))) if len(times) > 1 else 1 / _STILL_RATE_HZ


class ClipPainter:
    """Paints frames of one clip."""

    def __init__(self, analysis: ClipAnalysis, show_all_pixels: bool = False) -> None:
        self.analysis = analysis
        self._show_all_pixels = show_all_pixels
        report = analysis.report
        self._box = sector_box(None if show_all_pixels else analysis.sector, analysis.header.size)
        self._strip = CurveStrip(report, _STRIP_HEIGHT, _IMAGE_WIDTH) if report.volume_curve else None
        self._landmarks: dict[int, Landmarks] = {item.frame: item for item in analysis.landmarks}
        self._rv_lines = _rv_lines(report)
        self._reach = _outline_reach(analysis.labels.frames)
        self._header = self._draw_header()

    @property
    def video_size(self) -> tuple[int, int]:
        """Size of a video frame, (height, width)."""
        return (_HEADER_HEIGHT + _IMAGE_HEIGHT + (_STRIP_HEIGHT if self._strip else 0), _IMAGE_WIDTH)

    def picture(self, index: int, frame: Frame, size: tuple[int, int], line_px: int = 1) -> Pixels:
        """One native frame with its outlines and wall points in lines of ``line_px``, fitted into a size."""
        placement = Placement(self._box, size)
        picture = draw_frame(frame, placement, self.analysis.sector, self._show_all_pixels)
        nearest = self.analysis.labels.nearest(index)
        if nearest is not None and abs(nearest - index) <= self._reach:
            draw_outlines(picture, self.analysis.labels[nearest], placement, line_px)
        if index in self._landmarks:
            draw_walls(picture, self._landmarks[index], placement, line_px)
        if index in self._rv_lines:
            draw_line(picture, self._rv_lines[index], placement, line_px)
        return picture

    def video_frame(self, index: int, frame: Frame) -> Pixels:
        """One frame of the overlay video: header, image, volume curve."""
        time_s = self.analysis.header.frame_times_s[index]
        parts = [self._header, self.picture(index, frame, (_IMAGE_HEIGHT, _IMAGE_WIDTH))]
        if self._strip is not None:
            parts.append(self._strip.at(time_s))
        return np.concatenate(parts)

    def _draw_header(self) -> Pixels:
        report = self.analysis.report
        header = blank(_HEADER_HEIGHT, _IMAGE_WIDTH, BACKGROUND)
        values = clip_lines(report)
        lines = [Line(14, 8, view_text(report), 19)]
        if values:
            said = f"{values[0]}    {LOOK_TWICE}" if "*" in values[0] else values[0]
            lines.append(Line(14, 32, shortened(said, 14, _IMAGE_WIDTH - 28), 14, TEXT))
        x = 14
        for key in report.structures:
            structure = Structure.from_key(key)
            colour = STRUCTURE_COLOURS[structure]
            cv2.circle(header, (x + 4, 61), 4, colour, -1, cv2.LINE_AA)
            lines.append(Line(x + 13, 54, structure.display_name, 12, MUTED))
            x += 30 + 7 * len(structure.display_name)
        notice = "Research software, not a medical device"
        lines.append(Line(_IMAGE_WIDTH - 236, 10, notice, 12, MUTED))
        return write_lines(header, lines)


def tile_frames(report: ClipReport, outlined: Sequence[int]) -> dict[str, int]:
    """The native frames on the tile of a clip by their label, from left to right; a single one has no label."""
    if report.ed_frames and report.es_frames:
        return {"ED": report.ed_frames[0], "ES": report.es_frames[0]}
    frames = outlined or (report.frames // 2,)
    return {"": frames[len(frames) // 2]}


class TilePictures:
    """Collects the frames of the preview tile: ED and ES of the first beat, or the middle of the outlined frames."""

    def __init__(self, painter: ClipPainter) -> None:
        self._painter = painter
        self._wanted = tile_frames(painter.analysis.report, painter.analysis.labels.frames)
        self._found: dict[str, Pixels] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all wanted frames were seen."""
        return len(self._found) == len(self._wanted)

    def see(self, index: int, frame: Frame) -> None:
        """Paint the frame if it is wanted."""
        for name, wanted in self._wanted.items():
            if index == wanted:
                picture = self._painter.picture(index, frame, self._size(), TILE_SCALE)
                self._found[name] = _labelled(picture, name, index)

    def picture(self) -> Pixels:
        """The tile; black where a frame was not there."""
        if not self._found:
            return blank(TILE_SCALE * TILE_HEIGHT, TILE_SCALE * TILE_WIDTH, (0, 0, 0))
        return np.concatenate([self._found.get(name, self._empty()) for name in self._wanted], axis=1)

    def _empty(self) -> Pixels:
        return blank(*self._size(), (0, 0, 0))

    def _size(self) -> tuple[int, int]:
        return TILE_SCALE * TILE_HEIGHT, TILE_SCALE * TILE_WIDTH // len(self._wanted)


def _labelled(picture: Pixels, name: str, index: int) -> Pixels:
    colours: dict[str, Colour] = {"ED": ED_COLOUR, "ES": ES_COLOUR}
    if not name:
        return picture
    left, top, below = 8 * TILE_SCALE, 6 * TILE_SCALE, 8 * TILE_SCALE
    lines = [
        Line(left, top, name, 14 * TILE_SCALE, colours[name]),
        Line(4 * left, below, f"frame {index}", 11 * TILE_SCALE, MUTED),
    ]
    return write_lines(picture, lines)


def _rv_lines(report: ClipReport) -> dict[int, tuple[tuple[float, float], tuple[float, float]]]:
    """By frame, the line of RVIDd from the septum to the anterior border, native pixels."""
    evidence = [item.evidence[0] for item in report.measurements if item.quantity is Quantity.RVIDD]
    return {
        frame: (each.points_xy[f"{WallPoint.SEPTUM_RV_SIDE}@{frame}"], each.points_xy[f"{RV_ANTERIOR_BORDER}@{frame}"])
        for each in evidence
        for frame in each.frames
    }


def _outline_reach(frames: tuple[int, ...]) -> int:
    """Largest distance from its frame at which an outline is shown: half the stride of the outlined frames."""
    if len(frames) < 2:
        return 0
    return int(np.median(np.diff(frames))) // 2
