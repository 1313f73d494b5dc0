"""The ECG of a clip, and the trace that is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.domain import ClipHeader, ClipReport, Ecg, EcgOrigin
from echoapex.domain.ecg import report_ecg


def ecg(samples: np.ndarray | list[float], start_s: float = 0.0, rate_hz: float = 100.0, unit: str = "mV") -> Ecg:
    return Ecg(np.asarray(samples, np.float32), start_s, rate_hz, unit, EcgOrigin.WAVEFORM)


def test_samples_are_a_read_only_copy_on_the_time_of_the_clip() -> None:
    samples = np.arange(101, dtype=np.float32)
    made = ecg(samples, start_s=-0.2)
    samples[:] = 0
    assert made.samples[100] == 100 and not made.samples.flags.writeable
    assert made.end_s == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("samples", "start_s", "rate_hz"),
    [
        ([1.0], 0, 100),
        ([], 0, 100),
        ([1.0, np.nan], 0, 100),
        ([1.0, np.inf], 0, 100),
        ([[1.0, 2.0]], 0, 100),
        ([1.0, 2.0], np.nan, 100),
        ([1.0, 2.0], 0, 49),
        ([1.0, 2.0], 0, 5001),
        ([1.0, 2.0], 0, np.nan),
    ],
)
def test_an_impossible_ecg_is_refused(samples: list[float], start_s: float, rate_hz: float) -> None:
    with pytest.raises(Exception, match=r"an ECG|Float\[|samples"):
        ecg(samples, start_s, rate_hz)


def test_equal_ecgs_are_equal_and_headers_with_them_too() -> None:
    def header(value: float) -> ClipHeader:
        return ClipHeader("c", (2, 2), (0.0,), spacing_reason="none", ecg=ecg([0.0, value]))

    assert header(1.0) == header(1.0) and header(1.0) != header(2.0)
    assert ecg([0.0, 1.0]) != ecg([0.0, 1.0], unit="") and ecg([0.0, 1.0]) != "ecg"


def test_a_part_keeps_its_time() -> None:
    part = ecg(np.arange(101), start_s=-0.5).between(0.0, 0.25)
    assert part is not None
    assert (part.start_s, part.end_s, part.samples[0]) == (pytest.approx(0.0), pytest.approx(0.25), 50)
    assert ecg(np.arange(101)).between(2.0, 3.0) is None
    assert ecg(np.arange(101)).between(0.501, 0.509) is None


def test_the_trace_has_at_most_250_values_a_second_and_the_peak_at_its_time() -> None:
    times = np.arange(-1, 4, 1 / 1000)
    trace = report_ecg(ecg(np.exp(-(((times - 0.7) / 0.02) ** 2)), start_s=-1, rate_hz=1000), end_s=2.0)
    assert trace is not None
    assert trace.rate_hz == 250 and len(trace.values) == len(trace.times_s) == 500
    assert trace.times_s[0] >= 0 and trace.times_s[-1] <= 2.0
    assert trace.times_s[int(np.argmax(trace.values))] == pytest.approx(0.7, abs=0.003)
    assert max(trace.values) == pytest.approx(1.0, abs=0.01)
    assert all(value == round(value, 4) for value in trace.values)


def test_a_long_trace_has_at_most_6000_values() -> None:
    trace = report_ecg(ecg(np.sin(np.arange(60_000)), rate_hz=250), end_s=240.0)
    assert trace is not None and len(trace.values) == 6000 and trace.times_s[-1] == pytest.approx(239.98, abs=0.01)


def test_large_counts_are_rounded_to_their_range() -> None:
    trace = report_ecg(ecg(np.linspace(0, 30_000, 100), unit=""), end_s=1.0)
    assert trace is not None and all(value == round(value, -1) for value in trace.values)


def test_there_is_no_trace_where_the_ecg_does_not_reach() -> None:
    assert report_ecg(ecg(np.arange(50)), end_s=-1.0) is None
    assert report_ecg(ecg(np.arange(50), start_s=3.0), end_s=1.0) is None


def test_a_report_with_a_trace_goes_through_json_and_one_from_before_is_read() -> None:
    trace = report_ecg(ecg(np.arange(50)), end_s=1.0)
    report = ClipReport(clip_id="c", file="f", frames=2, size=(2, 2), content="b_mode", ecg=trace)
    assert ClipReport.model_validate_json(report.model_dump_json()) == report
    before = report.model_dump(exclude={"ecg", "r_wave_source"}, mode="json")
    assert ClipReport.model_validate(before).ecg is None
