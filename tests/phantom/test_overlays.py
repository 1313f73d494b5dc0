"""Depth ticks, text and the ECG."""

import numpy as np

from echoapex.phantom import Imaging
from echoapex.phantom.artefacts import EcgTrace, draw_annotations, ecg_volts
from echoapex.phantom.scan import GridSize, PolarGrid, ScanConverter
from echoapex.phantom.views import Pose

POSE = Pose(np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), depth_mm=150.0, field_of_view_deg=80.0)
CONVERTER = ScanConverter(PolarGrid(POSE, GridSize.for_image(256)), 256, 0.0)


def test_ticks_are_a_centimetre_apart() -> None:
    image = draw_annotations(CONVERTER, Imaging(), POSE.depth_mm)
    rows = np.flatnonzero(image[:, -1])
    assert len(rows) == 14
    np.testing.assert_allclose(np.diff(rows) * CONVERTER.mm_per_px, 10, atol=CONVERTER.mm_per_px)
    long = np.flatnonzero(image[:, -6])
    np.testing.assert_allclose(np.diff(long) * CONVERTER.mm_per_px, 50, atol=CONVERTER.mm_per_px)


def test_text_is_in_the_corner_and_names_the_probe() -> None:
    first, second = (draw_annotations(CONVERTER, Imaging(vendor=v), POSE.depth_mm)[:40, :60] for v in "AB")
    assert first.max() > 0.3 and (first != second).any()
    assert first.max() <= 1 and first.dtype == np.float32


def test_the_r_wave_is_at_the_start_of_the_beat() -> None:
    phases = np.linspace(0, 3, 3001)
    volts = ecg_volts(phases)
    peaks = phases[1:-1][(volts[1:-1] > 0.8) & (volts[1:-1] >= volts[:-2]) & (volts[1:-1] > volts[2:])]
    np.testing.assert_allclose(peaks, [1, 2], atol=0.01)


def test_the_trace_grows_and_shows_the_r_waves_of_the_clip() -> None:
    trace = EcgTrace(256, duration_s=2.0, beat_s=1.0, start_phase=0.5)
    half, whole = np.zeros((256, 256), np.float32), np.zeros((256, 256), np.float32)
    trace.draw(half, 1.0)
    trace.draw(whole, 2.0)
    assert half[:, 140:].sum() == 0 < whole[:, 140:].sum()
    top = np.array([column.argmax() for column in (whole > 0.5).T[12:240]])
    lead = [np.argmin(top[:114]) + 12, np.argmin(top[114:]) + 126]
    expected = [10 + (245 - 10) * share for share in (0.25, 0.75)]
    np.testing.assert_allclose(lead, expected, atol=3)
