"""What a machine draws over the image: depth ticks, probe text and the ECG. Readers have to mask it out."""

from __future__ import annotations

import cv2
import numpy as np

from echoapex.phantom.imaging import VENDOR_LOOKS, Imaging
from echoapex.phantom.scan import ScanConverter

_TICK_EVERY_MM, _LONG_TICK_EVERY_MM = 10, 50
_TICK_GREY, _TEXT_GREYS = 178, (150, 120, 120)
_TRACE_GREY, _TRACE_EDGE_GREY = 0.75, 0.4
_ECG_BASELINE, _ECG_HEIGHT = 0.955, 0.045
"""Of the image height."""
_ECG_WAVES = ((0.86, 0.030, 0.13), (0.0, 0.012, 1.0), (0.03, 0.010, -0.25), (0.30, 0.050, 0.22))
"""P, R, S and T: phase, width and height."""


def draw_annotations(converter: ScanConverter, imaging: Imaging, depth_mm: float) -> np.ndarray:
    """Ticks every centimetre on the right edge, and text at the upper left: (size, size) float32, 0 to 1."""
    size = converter.size
    image = np.zeros((size, size), np.uint8)
    for depth in range(_TICK_EVERY_MM, int(depth_mm), _TICK_EVERY_MM):
        row = int((depth - converter.top_mm) / converter.mm_per_px)
        if row < size:
            length = 6 if depth % _LONG_TICK_EVERY_MM == 0 else 3
            image[row, -length:] = _TICK_GREY
    lines = (VENDOR_LOOKS[imaging.vendor].probe_label, f"{imaging.frame_rate_hz:.0f}Hz", f"{depth_mm / 10:.0f}cm")
    for number, (text, grey) in enumerate(zip(lines, _TEXT_GREYS, strict=True)):
        cv2.putText(image, text, (3, 11 + 12 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.3, grey, 1, cv2.LINE_8)
    return image.astype(np.float32) / 255


class EcgTrace:
    """A trace along the lower edge that grows with the clip; its R waves are those of the heart."""

    def __init__(self, size: int, duration_s: float, beat_s: float, start_phase: float) -> None:
        self._columns = np.arange(int(size * 0.04), int(size * 0.96))
        progress = (self._columns - self._columns[0]) / (self._columns[-1] - self._columns[0])
        self._times_s = progress * duration_s
        volts = ecg_volts(start_phase + self._times_s / beat_s)
        rows = int(size * _ECG_BASELINE) - volts * size * _ECG_HEIGHT
        self._rows = np.clip(rows, 0, size - 1).astype(int)

    def draw(self, image: np.ndarray, time_s: float) -> None:
        """Draw the trace up to ``time_s`` on the image (size, size), in place."""
        drawn = self._times_s <= time_s + 1e-6
        columns, rows = self._columns[drawn], self._rows[drawn]
        image[rows, columns] = np.maximum(image[rows, columns], _TRACE_GREY)
        below = np.minimum(rows + 1, image.shape[0] - 1)
        image[below, columns] = np.maximum(image[below, columns], _TRACE_EDGE_GREY)


def ecg_volts(phase: np.ndarray) -> np.ndarray:
    """A schematic ECG at phases of the cycle, in units of the R wave."""
    volts = np.zeros_like(phase, dtype=float)
    for centre, width, height in _ECG_WAVES:
        from_centre = (phase - centre + 0.5) % 1.0 - 0.5
        volts += height * np.exp(-((from_centre / width) ** 2))
    return volts
