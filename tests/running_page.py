"""`echoapex serve` as a process of its own, and a real Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from real_peers import free_port, until

from echoapex.serve.page.app import create_app
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_parts import PageParts

ECHOAPEX = (sys.executable, "-c", "from echoapex.cli import main; main()")
WIDE = {"width": 1440, "height": 900}
TABLET = {"width": 834, "height": 1112}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class RunningPage:
    """A running page; it can be stopped and started again on the same state.

    Args:
        state: its state folder.
        options: further words of the command line.
    """

    def __init__(self, state: Path, *options: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state, self.options = state, options
        self.log = state.with_suffix(".log")
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        words = [*ECHOAPEX, "serve", "--state", str(self.state), "--port", str(self.port), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, "the page answers")

    def answers(self) -> bool:
        """Whether it answers."""
        if self.process.poll() is not None:
            raise AssertionError(f"the page ended: {self.log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{self.address}api/v1/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """Stop it as an administrator does, with SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def page_in_process(state: Path, **settings: Any) -> Iterator[tuple[str, PageParts]]:
    """A page in a thread of the test, which may change its parts: its address and its parts."""
    config = PageConfig(state=state, port=free_port(), **settings)
    parts = PageParts.open(config)
    server = uvicorn.Server(uvicorn.Config(create_app(config, parts), port=config.port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the page answers")
        yield f"http://127.0.0.1:{config.port}/", parts
    finally:
        parts.events.close()
        server.should_exit = True
        thread.join(20)


def chromium_program() -> str:
    """The Chromium of this machine; the test is skipped where there is none."""
    named = os.environ.get("ECHOAPEX_CHROMIUM", "")
    found = [path for path in (named, *map(shutil.which, _NAMES)) if path and Path(path).is_file()]
    if not found:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium, or set ECHOAPEX_CHROMIUM)")
    return found[0]


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    program = chromium_program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(browser: Browser, address: str, theme: str = "dark", size: dict[str, int] = WIDE) -> Iterator[Page]:
    """A new tab at an address; errors on its console, such as what its policy forbids, fail the test."""
    context = browser.new_context(viewport=size, color_scheme=theme, accept_downloads=True)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    try:
        page.goto(address)
        yield page
        assert [text for text in complaints if "the server responded with a status of" not in text] == []
    finally:
        context.close()


def post(page: Page, path: str, body: Any) -> Any:
    """The JSON that the API answers to a request of the tab."""
    return page.evaluate(
        """async ([path, body]) => {
            const session = await (await fetch('/api/v1/session')).json();
            const headers = { 'Content-Type': 'application/json', 'X-Echoapex-Csrf': session.csrf };
            const sent = { method: 'POST', headers, body: JSON.stringify(body) };
            return (await fetch('/api/v1' + path, sent)).json();
        }""",
        [path, body],
    )


def api(page: Page, path: str) -> Any:
    """The JSON of an address of the API, with the session of the tab."""
    return page.evaluate("path => fetch('/api/v1' + path).then(answer => answer.json())", path)


def wait_for_cine(page: Page) -> None:
    """Wait until the cine of the first clip on the screen is loaded."""
    page.locator('.pane canvas[data-loaded="1"]').first.wait_for(timeout=30_000)


def choose_clip(page: Page, view: str) -> None:
    """Show the clip of a view."""
    page.get_by_role("navigation", name="Clips").get_by_role("button", name=view).click()
    wait_for_cine(page)
    expect(page.locator(".pane .top-left")).to_contain_text(view)


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Place on the screen of a native pixel of the clip that is shown."""
    pane = page.locator(".pane").first.bounding_box()
    assert pane is not None
    canvas = page.locator(".pane canvas").first
    scale, left, top = (float(canvas.get_attribute(f"data-{name}") or "") for name in ("scale", "left", "top"))
    return pane["x"] + left + (x + 0.5) * scale, pane["y"] + top + (y + 0.5) * scale


def clip_with(page: Page, study: str, view: str) -> dict:
    """The clip of a view, as the API describes it."""
    return next(clip for clip in api(page, f"/studies/{study}")["clips"] if clip["view"] == view)


def kept(page: Page) -> None:
    """Wait until the server has taken every change."""
    expect(page.locator(".pane .bottom-left", has_text="keeping")).to_have_count(0, timeout=30_000)
    expect(page.locator(".tools .busy")).to_have_count(0, timeout=30_000)
