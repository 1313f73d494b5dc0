"""The page in a real browser: how many frames of a cine are shown at their time, and how quickly a click is answered.

    python benchmarks/page_browser.py [--bundle NAME] [--clicks 60] [--seconds 10] [--out FILE]

A phantom clip of 60 frames, 800 x 600, is analysed by a page of its own and opened in headless Chromium. Told are the
frames per second that the cine has and that were shown, the time between two pictures of the browser, the work of the
page's main thread for each frame, and the milliseconds from a click to the new mask, with the decoder in the browser
and with the server alone (median and 95th percentile). Headless Chromium draws without a graphics card.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import tell_figures

from echoapex.domain import Clip, ClipHeader
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from playwright.sync_api import Browser, Page, expect
from running_page import RunningPage, api, open_tab, started_chromium

SEED = 1_900_000
HEIGHT, WIDTH, FRAMES = 600, 800, 60
ANALYSIS_MS, STEP_MS = 600_000, 60_000
_WATCH = """seconds => new Promise(resolve => {
    const canvas = document.querySelector('.pane canvas'), seen = [], began = performance.now();
    (function look(now) {
        seen.push([now, Number(canvas.dataset.frame)]);
        if (now - began < 1000 * seconds) requestAnimationFrame(look); else resolve(seen);
    })(performance.now());
})"""


def write_clip(path: Path, scale: float = 1.0, frames: int = FRAMES) -> Path:
    """A clip of two beats, 4 : 3, as DICOM."""
    height, width = round(HEIGHT * scale), round(WIDTH * scale)
    loop = simulate_clip(View.A4C, SEED, frames=frames, beats=2.0, size=width)
    times = tuple((np.arange(frames) * float(loop.frame_times_s[1])).tolist())
    header = ClipHeader(clip_id="page", size=(height, width), frame_times_s=times, spacing=loop.spacing)
    return write_ultrasound(path, Clip(header, loop.frames[:, :height]), FictitiousStudy(SEED), instance=1)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {f"p{part}": round(float(np.percentile(values, part)), 1) for part in (50, 95)}


def open_clip(page: Page) -> str:
    """Open the only study; its key."""
    link = page.get_by_role("link", name="Study 1")
    expect(link).to_be_visible(timeout=ANALYSIS_MS)
    link.click()
    page.locator('.pane canvas[data-loaded="1"]').wait_for(timeout=STEP_MS)
    return page.url.rpartition("/")[2]


def watch_cine(page: Page, study: str, seconds: float) -> dict[str, Any]:
    """Play the cine and see what is shown when."""
    clip = api(page, f"/studies/{study}")["clips"][0]
    times = clip["frame_times_s"]
    step_s = (times[-1] - times[0]) / (len(times) - 1)
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")

    def spent_s() -> float:
        found = metrics.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in found if one["name"] == "TaskDuration"))

    page.keyboard.press("Space")
    before = spent_s()
    seen = page.evaluate(_WATCH, seconds)
    work_s = spent_s() - before
    page.keyboard.press("Space")
    shown = [frame for (_, last), (_, frame) in pairwise(seen) if frame != last]
    skipped = sum((frame - last) % len(times) - 1 for last, frame in pairwise(shown))
    whole_s = (seen[-1][0] - seen[0][0]) / 1000
    return {
        "size": clip["size"],
        "frames": len(times),
        "rate_of_clip_hz": round(1 / step_s, 1),
        "rate_shown_hz": round(len(shown) / whole_s, 1),
        "frames_skipped_percent": round(100 * skipped / max(1, len(shown) + skipped), 2),
        "between_pictures_ms": percentiles([b[0] - a[0] for a, b in pairwise(seen)]),
        "main_thread_ms_per_frame": round(1000 * work_s / max(1, len(shown)), 2),
    }


def click_often(page: Page, clicks: int) -> dict[str, Any]:
    """Click beside and inside the outline, one click at a time, on an encoded frame."""
    rng = np.random.default_rng(1)
    pane = page.locator(".pane").first.bounding_box()
    assert pane is not None
    page.keyboard.press("c")
    told: list[float] = []
    inside: list[float] = []
    answer = page.locator("[data-latency]")
    for number in range(clicks + 1):
        x, y = pane["width"] * rng.uniform(0.4, 0.6), pane["height"] * rng.uniform(0.2, 0.7)
        before = answer.get_attribute("data-latency") if number else None
        modifiers = ["Shift"] if number % 2 else []
        page.locator(".pane").first.click(position={"x": x, "y": y}, modifiers=modifiers)  # type: ignore[arg-type]
        answer.wait_for(timeout=STEP_MS)
        if before is not None:
            expect(answer).not_to_have_attribute("data-latency", before, timeout=STEP_MS)
        expect(page.locator(".pane .bottom-left", has_text="keeping")).to_have_count(0, timeout=STEP_MS)
        told.append(float(answer.get_attribute("data-latency") or "nan"))
        inside.append(float(answer.get_attribute("data-worker") or "nan"))
    return {
        "where": answer.get_attribute("data-where"),
        "clicks": clicks,
        "first_ms": round(told[0]),
        "ms": percentiles(told[1:]),
        **({} if np.isnan(inside).any() else {"of_it_in_worker_ms": percentiles(inside[1:])}),
    }


def measure(browser: Browser, bundle: str, clicks: int, seconds: float, scale: float = 1.0) -> dict[str, Any]:
    """All figures of one clip."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        file = write_clip(place / "clip.dcm", scale)
        page_server = RunningPage(place / "state", "--bundle", bundle)
        found: dict[str, Any] = {"bundle": bundle}
        try:
            with open_tab(browser, page_server.address) as page:
                page.get_by_label("Files to analyse").set_input_files(file)
                study = open_clip(page)
                found["cine"] = watch_cine(page, study, seconds)
                found["click_in_browser"] = click_often(page, clicks)
            with open_tab(browser, page_server.address) as page:
                page.route("**/decoder/model.onnx", lambda route: route.fulfill(status=503, json={"detail": "none"}))
                open_clip(page)
                found["click_by_server"] = click_often(page, clicks)
        finally:
            page_server.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bundle", default="open")
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with started_chromium() as browser:
        tell_figures(measure(browser, given.bundle, given.clicks, given.seconds), given.out)


if __name__ == "__main__":
    main()
