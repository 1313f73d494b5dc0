"""The figures of the page in a browser come from what the browser showed."""

import pytest
from page_browser import measure, percentiles
from running_page import started_chromium


def test_percentiles() -> None:
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50, "p95": 95}


def test_figures_of_a_small_clip() -> None:
    with started_chromium() as browser:
        found = measure(browser, "phantom", clicks=3, seconds=2.0, scale=0.16)
    cine = found["cine"]
    assert cine["size"] == [96, 128]
    passed_hz = cine["rate_shown_hz"] / (1 - cine["frames_skipped_percent"] / 100)
    assert passed_hz == pytest.approx(cine["rate_of_clip_hz"], rel=0.25), "a slow machine skips frames, and keeps time"
    assert cine["main_thread_ms_per_frame"] > 0
    assert found["click_in_browser"]["where"] == "browser"
    assert found["click_by_server"]["where"] == "server"
    assert 0 < found["click_in_browser"]["ms"]["p50"] <= found["click_in_browser"]["ms"]["p95"]
