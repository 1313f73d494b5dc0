"""What reaches the page from outside and leaves it again, in a real Chromium: a folder, a hand's ruler, an archive."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread
from real_peers import Orthanc, orthanc_program, until
from running_page import (
    RunningPage,
    api,
    choose_clip,
    clip_with,
    kept,
    on_screen,
    open_tab,
    started_chromium,
    wait_for_cine,
)
from small_echo import write_small_study

from echoapex.vocabulary import View

PATIENCE_MS = 240_000
LINE_MM = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_chromium() as started:
        yield started


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    running = Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, browser: Browser) -> Iterator[RunningPage]:
    place = tmp_path_factory.mktemp("page")
    peer = {"ae_title": orthanc.title, "host": "127.0.0.1", "port": orthanc.dicom_port}
    settings = {"data": "data", "accept_from": [orthanc.title], "peers": {"archive": peer}}
    (place / "node.yaml").write_text(yaml.safe_dump(settings))
    running = RunningPage(place / "state", "--bundle", "phantom", "--peers", str(place / "node.yaml"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def dropped(server: RunningPage, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The key of a study that came as a folder with folders below it, and a text that is no clip."""
    folder = tmp_path_factory.mktemp("outside") / "visit"
    write_small_study(folder / "apical", views=(View.A4C,))
    write_small_study(folder / "parasternal" / "long axis", views=(View.PLAX,))
    (folder / "notes.txt").write_text("nothing to see here\n")
    with open_tab(browser, server.address) as page:
        expect(page.get_by_text("Drop echo studies here")).to_be_visible()
        drop(page, folder)
        expect(page.get_by_text("visit/notes.txt")).to_be_visible(timeout=PATIENCE_MS)
        link = page.get_by_role("link", name="Study 1")
        expect(link).to_be_visible(timeout=PATIENCE_MS)
        link.click()
        expect(page.get_by_role("heading", name="Study 1")).to_be_visible()
        return page.url.rpartition("/")[2]


def drop(page: Page, path: Path) -> None:
    """Drop a file or a folder of the disk on the middle of the window, as a file manager does."""
    size = page.viewport_size
    assert size is not None
    devtools = page.context.new_cdp_session(page)
    about = {"x": size["width"] / 2, "y": size["height"] / 2}
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **about, "data": data})


def value_of(page: Page, study: str, name: str) -> dict:
    return next(one for one in api(page, f"/studies/{study}")["values"] if one["id"] == name)


def test_a_folder_that_is_dropped_becomes_one_study(server: RunningPage, browser: Browser, dropped: str) -> None:
    with open_tab(browser, f"{server.address}#/study/{dropped}") as page:
        wait_for_cine(page)
        assert api(page, "/studies")["total"] == 1
        assert sorted(clip["view"] for clip in api(page, f"/studies/{dropped}")["clips"]) == ["A4C", "PLAX"]


def test_a_line_on_the_ruler_calibrates_and_millimetres_follow(
    server: RunningPage, browser: Browser, dropped: str
) -> None:
    with open_tab(browser, f"{server.address}#/study/{dropped}") as page:
        wait_for_cine(page)
        choose_clip(page, "PLAX")
        clip, before = clip_with(page, dropped, "PLAX"), value_of(page, dropped, "lvidd")
        height, width = clip["size"]
        page.keyboard.press("r")
        expect(page.get_by_text("Draw a line between two marks of the ruler.")).to_be_visible()
        first, last = np.array([0.5 * width, 0.2 * height]), np.array([0.5 * width, 0.8 * height])
        page.mouse.move(*on_screen(page, *first))
        page.mouse.down()
        page.mouse.move(*on_screen(page, *last), steps=4)
        page.mouse.up()
        page.get_by_label("This line is").fill(str(LINE_MM))
        page.get_by_role("button", name="Calibrate", exact=True).click()
        expect(page.locator(".calibration")).to_contain_text("by hand", timeout=30_000)
        kept(page)
        spacing = clip_with(page, dropped, "PLAX")["spacing"]
        assert spacing["row_mm"] == pytest.approx(LINE_MM / (last - first)[1], rel=0.03)  # parts of a screen pixel
        assert spacing["source"].startswith("set by hand")
        after = value_of(page, dropped, "lvidd")
        grown = spacing["row_mm"] / clip["spacing"]["row_mm"]
        assert grown != pytest.approx(1, rel=0.05)
        assert after["value"] == pytest.approx(before["value"] * grown, rel=1e-6)
        assert all(one["calibration_source"].startswith("set by hand") for one in after["evidence"])
        shown = page.locator('[data-value="lvidd"] .number strong')
        expect(shown).to_have_text(f"{after['value']:.1f}")
        page.keyboard.press("m")
        page.mouse.move(*on_screen(page, *first))
        page.mouse.down()
        page.mouse.move(*on_screen(page, *last), steps=4)
        page.mouse.up()
        path = f"/studies/{dropped}/clips/{clip['clip']}/calipers"
        caliper = until(lambda: api(page, path)["calipers"], "the caliper is kept")[0]
        assert caliper["mm"] == pytest.approx(LINE_MM, rel=0.03)
        page.get_by_role("button", name="Audit trail").click()
        expect(page.get_by_role("dialog", name="Audit trail")).to_contain_text("set by hand")


def test_a_finished_report_is_sent_to_an_archive(
    server: RunningPage, browser: Browser, dropped: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    with open_tab(browser, f"{server.address}#/study/{dropped}") as page:
        wait_for_cine(page)
        page.get_by_role("button", name="Approve the rest").click()
        expect(page.get_by_role("button", name="Approve the rest")).to_have_count(0, timeout=60_000)
        page.get_by_role("button", name="Sign", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Sign", exact=True).click()
        expect(page.get_by_text("Signed by")).to_be_visible()
        expected = value_of(page, dropped, "lvidd")["value"]
        page.get_by_role("button", name="Send").click()
        page.get_by_role("menuitem", name="archive").click()
        expect(page.get_by_role("status").get_by_text("Sent to archive.")).to_be_visible(timeout=60_000)
        assert orthanc.modalities() == ["SEG", "SEG", "SR", "SR"]
        for instance in orthanc.ask("/instances"):
            tags = orthanc.ask(f"/instances/{instance}/simplified-tags")
            if tags["Modality"] == "SR":
                path = tmp_path / "report.dcm"
                path.write_bytes(stored_file(orthanc, instance))
                numbers = [float(one.value) for one in dcmread(path).iterall() if one.keyword == "NumericValue"]
                assert any(number == pytest.approx(expected, rel=1e-4) for number in numbers)
        page.get_by_role("button", name="Audit trail").click()
        expect(page.get_by_role("dialog", name="Audit trail")).to_contain_text("sent to archive")


def stored_file(orthanc: Orthanc, instance: str) -> bytes:
    """An instance that the archive holds, as it lies there."""
    with urllib.request.urlopen(f"{orthanc.url}/instances/{instance}/file", timeout=30) as answer:
        return bytes(answer.read())
