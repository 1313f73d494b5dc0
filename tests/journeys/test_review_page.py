"""A person's way through the page in a real Chromium: upload, look, correct, measure, sign, export, and come back.

With ECHOAPEX_DRAW_PAGE=1 the pictures of docs/pictures/page-*.png are drawn anew, from a larger simulated study.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from real_peers import until
from running_page import (
    TABLET,
    WIDE,
    RunningPage,
    api,
    choose_clip,
    clip_with,
    kept,
    on_screen,
    open_tab,
    page_in_process,
    post,
    started_chromium,
    wait_for_cine,
)
from small_echo import write_small_study
from tiny_corrections import write_tiny_corrections
from tiny_tasks import build_tasks, save_set

from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import View

VIEWS = (View.A4C, View.A2C, View.PLAX)
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DRAW = os.environ.get("ECHOAPEX_DRAW_PAGE", "") == "1"
PATIENCE_MS = 240_000
SCREENS = ("#/", "#/learning", "#/explore")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_chromium() as started:
        yield started


@pytest.fixture(scope="module")
def study_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("study")
    if not DRAW:
        return write_small_study(folder, views=VIEWS, beats=2.0, with_ecg=(View.A2C,))
    write_study(folder / "study", 1_000_003, StudyPlan(views=VIEWS, ecg=True))
    return sorted(folder.rglob("*.dcm"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[RunningPage]:
    bundle = "open" if DRAW else "phantom"
    running = RunningPage(tmp_path_factory.mktemp("page") / "state", "--bundle", bundle)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def uploaded(server: RunningPage, browser: Browser, study_files: list[Path]) -> str:
    """The key of a study that was uploaded by hand and has been analysed."""
    with open_tab(browser, server.address) as page:
        expect(page.get_by_text("Drop echo studies here")).to_be_visible()
        draw(page, "empty")
        page.get_by_label("Files to analyse").set_input_files(study_files)
        link = page.get_by_role("link", name="Study 1")
        expect(link).to_be_visible(timeout=PATIENCE_MS)  # the row opens as soon as the analysis has ended
        draw(page, "studies")
        link.click()
        expect(page.get_by_role("heading", name="Study 1")).to_be_visible()
        return page.url.rpartition("/")[2]


@pytest.fixture
def review(server: RunningPage, browser: Browser, uploaded: str) -> Iterator[Page]:
    """The study on screen, its cine loaded."""
    with open_tab(browser, f"{server.address}#/study/{uploaded}") as page:
        wait_for_cine(page)
        yield page


def draw(page: Page, name: str) -> None:
    if DRAW:
        page.wait_for_timeout(700)
        path = PICTURES / f"page-{name}.png"
        page.screenshot(path=path)
        with Image.open(path) as picture:  # 255 colours say the same in a third of the bytes
            picture.convert("RGB").quantize(255).save(path, optimize=True)


def mask_area(page: Page, study: str, clip: str, frame: int, structure: str) -> int:
    masks = api(page, f"/studies/{study}/clips/{clip}/masks/{frame}")["structures"]
    return sum(masks[structure]["counts"][1::2]) if structure in masks else 0


def decoded(counts: list[int], size: list[int]) -> np.ndarray:
    """The mask of run lengths in column order."""
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[1], size[0]).T


def test_cine_shows_every_frame_at_its_time(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    times = clip_with(review, uploaded, "A4C")["frame_times_s"]
    loop_s = (times[-1] - times[0]) * len(times) / (len(times) - 1)
    review.keyboard.press("Home")
    review.keyboard.press("Space")
    seen = review.evaluate(
        """seconds => new Promise(resolve => {
            const canvas = document.querySelector('.pane canvas'), seen = [], began = performance.now();
            (function look(now) {
                seen.push([now, Number(canvas.dataset.frame)]);
                if (now - began < 1000 * seconds) requestAnimationFrame(look); else resolve(seen);
            })(performance.now());
        })""",
        max(2.5, 3 * loop_s),
    )
    review.keyboard.press("Space")
    assert len({frame for _, frame in seen}) >= 0.9 * len(times)  # a busy machine may skip a picture
    starts = [now for (_, before), (now, frame) in pairwise(seen) if frame < before]
    assert len(starts) >= 2
    measured = (starts[-1] - starts[0]) / 1000 / (len(starts) - 1)
    assert measured == pytest.approx(loop_s, rel=0.08)
    review.keyboard.press("Home")
    review.keyboard.press("ArrowRight")
    review.keyboard.press("ArrowRight")
    assert review.locator(".pane canvas").first.get_attribute("data-frame") == "2"


def test_two_clips_run_in_step(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    review.get_by_role("button", name="Two clips").click()
    review.get_by_label("Second clip").select_option(clip_with(review, uploaded, "A2C")["clip"])
    expect(review.locator('.pane canvas[data-loaded="1"]')).to_have_count(2, timeout=30_000)
    for event, key in (("ed_frames", "d"), ("es_frames", "s")):
        first, second = (clip_with(review, uploaded, view)[event] for view in ("A4C", "A2C"))
        if not (first and second):
            continue
        review.keyboard.press(key)
        for canvas, frames in zip(review.locator(".pane canvas[data-frame]").all(), (first, second), strict=True):
            expect(canvas).to_have_attribute("data-frame", re.compile(f"^({'|'.join(map(str, frames))})$"))
    draw(review, "two-clips")


def test_click_moves_the_outline_and_undo_brings_it_back(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    clip = clip_with(review, uploaded, "A4C")
    frame = int(review.locator(".pane canvas").first.get_attribute("data-frame") or 0)
    before = mask_area(review, uploaded, clip["clip"], frame, "left_atrium")
    review.keyboard.press("c")
    review.keyboard.press("3")
    expect(review.get_by_role("radio", name="Left atrium")).to_have_attribute("aria-checked", "true")
    height, width = clip["size"]
    review.mouse.click(*on_screen(review, 0.5 * width, 0.2 * height))  # far from the atrium, near the apex
    answer = review.locator("[data-latency]")
    answer.wait_for(timeout=30_000)
    assert float(answer.get_attribute("data-latency") or 0) > 0
    assert (
        answer.get_attribute("data-where") == "browser"
    )  # the decoder runs there; the server answers only where it cannot
    kept(review)
    assert mask_area(review, uploaded, clip["clip"], frame, "left_atrium") > before
    expect(review.get_by_text("corrected", exact=True).first).to_be_visible()
    review.keyboard.press("Control+z")
    expect(review.get_by_role("status").get_by_text("Undone")).to_be_visible(timeout=30_000)
    assert mask_area(review, uploaded, clip["clip"], frame, "left_atrium") == before
    review.keyboard.press("Control+Shift+z")
    expect(review.get_by_role("status").get_by_text("Done again")).to_be_visible(timeout=30_000)
    assert mask_area(review, uploaded, clip["clip"], frame, "left_atrium") > before
    review.keyboard.press("Control+z")


def test_box_is_answered_in_the_browser_as_by_the_server(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    clip = clip_with(review, uploaded, "A4C")
    height, width = clip["size"]
    frame = int(review.locator(".pane canvas").first.get_attribute("data-frame") or 0)
    review.keyboard.press("x")
    review.keyboard.press("1")
    first, last = (0.3 * width, 0.1 * height), (0.62 * width, 0.62 * height)
    review.mouse.move(*on_screen(review, *first))
    review.mouse.down()
    review.mouse.move(*on_screen(review, *last), steps=4)
    with review.expect_response(
        lambda answer: answer.url.endswith("/masks") and answer.request.method == "PUT"
    ) as kept_mask:
        review.mouse.up()
    assert review.locator("[data-latency]").get_attribute("data-where") == "browser"
    here = decoded(kept_mask.value.request.post_data_json["rle"], clip["size"])
    asked = {"frame": frame, "structure": "lv_cavity", "clicks": [], "box": [*first, *last], "from_automatic": True}
    answer = post(review, f"/studies/{uploaded}/clips/{clip['clip']}/segment", asked)
    there = decoded(answer["counts"], answer["size"])
    assert there.any()
    assert (here & there).sum() / (here | there).sum() > 0.97  # the corners differ by parts of a pixel of the screen
    kept(review)
    review.keyboard.press("Control+z")
    expect(review.get_by_role("status").get_by_text("Undone")).to_be_visible(timeout=30_000)


def test_brush_propagates_and_values_follow(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    clip = clip_with(review, uploaded, "A4C")
    frame = clip["ed_frames"][0]
    review.keyboard.press("d")
    review.keyboard.press("b")
    review.keyboard.press("1")
    before = mask_area(review, uploaded, clip["clip"], frame, "lv_cavity")
    volume = clip["volume_curve"]
    height, width = clip["size"]
    review.mouse.move(*on_screen(review, 0.45 * width, 0.35 * height))
    review.mouse.down()
    review.mouse.move(*on_screen(review, 0.6 * width, 0.45 * height), steps=6)
    review.mouse.up()
    expect(review.get_by_text("corrected", exact=True).first).to_be_visible(timeout=30_000)
    kept(review)
    painted = mask_area(review, uploaded, clip["clip"], frame, "lv_cavity")
    assert painted != before
    review.keyboard.press("p")
    draw(review, "outline")
    review.keyboard.press("g")
    expect(review.get_by_role("status").get_by_text("The outline was carried")).to_be_visible(timeout=40_000)
    kept(review)
    assert mask_area(review, uploaded, clip["clip"], frame, "lv_cavity") == painted
    after = clip_with(review, uploaded, "A4C")
    assert after["volume_curve"] != volume
    for _ in range(2):
        review.keyboard.press("Control+z")
        expect(review.get_by_role("status").get_by_text("Undone")).to_be_visible(timeout=30_000)
        kept(review)
    assert mask_area(review, uploaded, clip["clip"], frame, "lv_cavity") == before


def test_caliper_gives_millimetres_and_can_be_dragged(review: Page, uploaded: str) -> None:
    choose_clip(review, "PLAX")
    clip = clip_with(review, uploaded, "PLAX")
    spacing, (height, width) = clip["spacing"], clip["size"]
    review.keyboard.press("m")
    first, last = np.array([0.3 * width, 0.4 * height]), np.array([0.6 * width, 0.7 * height])
    review.mouse.move(*on_screen(review, *first))
    review.mouse.down()
    review.mouse.move(*on_screen(review, *last), steps=4)
    review.mouse.up()
    draw(review, "caliper")
    path = f"/studies/{uploaded}/clips/{clip['clip']}/calipers"
    until(lambda: len(api(review, path)["calipers"]) == 1, "the caliper is kept")
    moved = np.array([0.7 * width, 0.5 * height])
    review.mouse.move(*on_screen(review, *last))
    review.mouse.down()
    review.mouse.move(*on_screen(review, *moved), steps=4)
    with review.expect_response(lambda answer: "/calipers/" in answer.url and answer.request.method == "PUT"):
        review.mouse.up()
    caliper = api(review, path)["calipers"][0]
    assert caliper["to"] == pytest.approx(moved.tolist(), abs=0.6)
    across, down = np.subtract(caliper["to"], caliper["from"])
    assert caliper["mm"] == pytest.approx(np.hypot(across * spacing["column_mm"], down * spacing["row_mm"]), abs=0.001)
    review.keyboard.press("Delete")
    until(lambda: api(review, path)["calipers"] == [], "the caliper is removed")


def test_markers_move_by_keyboard_and_the_view_by_its_list(review: Page, uploaded: str) -> None:
    choose_clip(review, "A4C")
    before = clip_with(review, uploaded, "A4C")["ed_frames"][0]
    step = "ArrowRight" if before == 0 else "ArrowLeft"
    review.get_by_role("slider", name="End-diastole 1").press(step)
    expect(review.get_by_text("corrected", exact=True).first).to_be_visible(timeout=30_000)
    kept(review)
    assert clip_with(review, uploaded, "A4C")["ed_frames"][0] == before + (1 if before == 0 else -1)
    review.get_by_label("View", exact=True).select_option("A5C")
    expect(review.locator(".pane .top-left")).to_contain_text("A5C", timeout=30_000)
    kept(review)
    for _ in range(2):
        review.keyboard.press("Control+z")
        expect(review.locator(".tools .busy")).to_have_count(0, timeout=30_000)
    expect(review.locator(".pane .top-left")).to_contain_text("A4C", timeout=30_000)
    assert clip_with(review, uploaded, "A4C")["ed_frames"][0] == before


def test_the_ecg_and_its_r_waves_are_on_the_timeline(review: Page, uploaded: str) -> None:
    choose_clip(review, "A2C")
    clip = clip_with(review, uploaded, "A2C")
    assert clip["ecg"]["unit"] == "mV"
    assert clip["r_wave_source"] == ("file" if DRAW else "ecg_trace")  # the study for the pictures names its R waves
    source = "of the file" if DRAW else "from the ECG trace"
    ecg = review.get_by_role("img", name=f"ECG of the file, R waves {source}")
    expect(ecg).to_be_visible()
    path = ecg.locator("path").get_attribute("d") or ""
    points = np.array([point.split() for point in re.split("[ML]", path) if point], float)
    assert len(points) == len(clip["ecg"]["values"]) > 200
    slider = review.get_by_role("slider", name="Frame").bounding_box()
    assert slider is not None
    assert points.min() > 0 and points[:, 0].max() < slider["width"] and points[:, 1].max() < slider["height"]
    # the trace peaks where the R waves are marked
    marks = sorted(float(line.get_attribute("x1") or "") for line in ecg.locator("line").all())
    times = clip["frame_times_s"]
    end = times[-1] * len(times) / (len(times) - 1)
    inside = [time for time in clip["r_wave_times_s"] if 0 <= time <= end]
    assert len(marks) == len(inside) >= 1
    whole = [mark for mark in marks if 20 < mark < slider["width"] - 40]
    assert whole
    for mark in whole:
        near = points[np.abs(points[:, 0] - mark) < 40]
        assert near[near[:, 1].argmin(), 0] == pytest.approx(mark, abs=4), "y grows downwards"
    draw(review, "ecg")

    if not DRAW:
        choose_clip(review, "PLAX")
        expect(review.get_by_role("img", name="ECG of the file")).to_have_count(0)


def test_every_screen_is_accessible_in_both_themes(server: RunningPage, browser: Browser, uploaded: str) -> None:
    found = []
    for theme in ("dark", "light"):
        for size in (WIDE, TABLET):
            with open_tab(browser, server.address, theme, size) as page:
                for screen in (*SCREENS, f"#/study/{uploaded}"):
                    page.goto(f"{server.address}{screen}")
                    page.wait_for_load_state("networkidle") if screen == "#/explore" else page.wait_for_timeout(400)
                    name = screen.strip("#/").partition("/")[0] or "studies"
                    draw(page, f"{name}-{theme}" if size is WIDE else f"{name}-{theme}-tablet")
                    problems = Axe().run(page).response["violations"]
                    found += [
                        (theme, name, one["id"], one["nodes"][0]["html"][:120], one["nodes"][0]["failureSummary"][:200])
                        for one in problems
                        if one["impact"] in ("serious", "critical")
                    ]
                    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, size)
                page.keyboard.press("?")
                expect(page.get_by_role("dialog", name="Keyboard and help")).to_be_visible()
                page.keyboard.press("Escape")
    assert found == []


def test_report_is_approved_edited_rejected_signed_exported_and_kept_over_a_restart(
    server: RunningPage, browser: Browser, uploaded: str, tmp_path: Path
) -> None:
    with open_tab(browser, f"{server.address}#/study/{uploaded}") as page:
        wait_for_cine(page)
        values = [value for value in api(page, f"/studies/{uploaded}")["values"] if "@" not in value["id"]]
        assert len(values) >= 3
        approved, edited, rejected = values[0], values[1], values[2]
        rows = {value["id"]: page.locator(f'[data-value="{value["id"]}"]') for value in values[:3]}
        rows[approved["id"]].get_by_role("button", name="Approve").click()
        rows[edited["id"]].get_by_role("button", name="Edit").click()
        rows[edited["id"]].get_by_label("Value").fill("42.5")
        rows[edited["id"]].get_by_label("Reason").fill("measured by hand")
        rows[edited["id"]].get_by_role("button", name="Keep").click()
        rows[rejected["id"]].get_by_role("button", name="Reject").click()
        rows[rejected["id"]].get_by_label("Reason").fill("not this beat")
        rows[rejected["id"]].get_by_role("button", name="Reject", exact=True).click()
        expect(rows[rejected["id"]].get_by_text("rejected", exact=True)).to_be_visible()
        page.get_by_label("Reader's note").fill("Good windows.")
        expect(page.get_by_text("kept", exact=True)).to_be_visible()
        draw(page, "review")
        page.get_by_role("button", name="Audit trail").click()
        expect(page.get_by_role("dialog", name="Audit trail")).to_contain_text("42.5")
        draw(page, "audit")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Sign", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Sign", exact=True).click()
        expect(page.get_by_text("Signed by")).to_be_visible()
        expect(rows[approved["id"]].get_by_role("button", name="Approve")).to_have_count(0)
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="JSON").click()
        download.value.save_as(tmp_path / "study.json")
    exported = (tmp_path / "study.json").read_text()
    json.loads(exported)
    assert "42.5" in exported

    server.stop()
    server.start()
    with open_tab(browser, server.address) as page:
        page.get_by_role("link", name="Study 1").click()
        expect(page.get_by_text("Signed by")).to_be_visible()
        expect(page.get_by_label("Reader's note")).to_have_value("Good windows.")
        states = {value["id"]: value for value in api(page, f"/studies/{uploaded}")["values"]}
        assert states[approved["id"]]["state"] == "approved"
        assert states[edited["id"]]["value"] == 42.5
        assert states[edited["id"]]["original"] == pytest.approx(
            edited["value"] if edited["original"] is None else edited["original"]
        )
        assert states[rejected["id"]]["state"] == "rejected"
        page.get_by_role("button", name="Take back").click()
        expect(page.get_by_role("button", name="Sign", exact=True)).to_be_visible()


def test_corrections_teach_and_the_page_tells_how_it_went(browser: Browser, tmp_path: Path) -> None:
    write_tiny_corrections(tmp_path / "state")
    tiny = save_set(build_tasks(), tmp_path / "tiny")
    with page_in_process(tmp_path / "state", bundle=str(tiny)) as (address, parts):
        steps = ["--train.steps", "2", "--train.score_every", "2", "--train.precision", "fp32"]
        parts.learning.overrides = [*steps, "--task.frames.batch_size", "2", "--task.store.size", "96"]
        parts.learning.check_patients = 1
        with open_tab(browser, f"{address}#/learning") as page:
            outlines = page.get_by_role("region", name="Outlines")
            expect(outlines).to_contain_text("clips4")
            outlines.get_by_role("button", name="Start learning").click()
            row = page.locator(".run", has_text="Outlines")
            expect(row.get_by_role("progressbar")).to_be_visible(timeout=30_000)
            views = page.get_by_role("region", name="Views")
            expect(views.get_by_role("button", name="Start learning")).to_be_disabled()
            expect(row).to_contain_text("Dice", timeout=PATIENCE_MS)
            expect(row).to_contain_text(re.compile("in use|not better|not switched"))
            expect(views.get_by_role("button", name="Start learning")).to_be_enabled()


def test_map_leads_to_a_clip(server: RunningPage, browser: Browser, uploaded: str) -> None:
    with open_tab(browser, f"{server.address}#/explore") as page:
        expect(page.get_by_text("3 clips", exact=True)).to_be_visible(timeout=60_000)
        area = page.locator(".area").bounding_box()
        assert area is not None
        points = api(page, "/explore/map?method=pca")["points"]
        x, y = (np.array([point[axis] for point in points]) for axis in "xy")
        pad = 28  # the map leaves this border
        across = area["x"] + pad + (x - x.min()) / np.ptp(x) * (area["width"] - 2 * pad)
        down = area["y"] + pad + (1 - (y - y.min()) / np.ptp(y)) * (area["height"] - 2 * pad)
        page.mouse.click(float(across[0]), float(down[0]))
        near = page.locator(".near button")
        expect(near.first).to_be_visible()
        assert near.count() == 2
        page.get_by_role("button", name="Features as colours").click()
        expect(page.locator(".picture img")).to_have_js_property("complete", value=True)
        page.get_by_role("button", name="Open the clip").click()
        wait_for_cine(page)
        expect(page.locator(".pane .top-left")).to_contain_text(points[0]["view"])
        with page.expect_response(lambda answer: "/explore/features/" in answer.url) as told:
            page.keyboard.press("u")
        assert told.value.ok
        draw(page, "features")


def test_token_opens_the_page_with_the_rights_of_its_user(browser: Browser, tmp_path: Path) -> None:
    from echoapex.serve.page.schemas import Role
    from echoapex.serve.page.sessions import add_user

    token = add_user(tmp_path / "users.json", "anna", Role.READER)
    running = RunningPage(tmp_path / "state", "--bundle", "phantom", "--tokens", str(tmp_path / "users.json"))
    try:
        with open_tab(browser, running.address) as page:
            expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            draw(page, "login")
            page.get_by_label("Token").fill("not the token")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).not_to_be_empty()
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_text("reader", exact=True)).to_be_visible()
    finally:
        running.stop()
