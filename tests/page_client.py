"""A page in the process of a test, and a browser's view of it: one session, its CSRF header, its address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from echoapex.infer.study.analyze import Observer
from echoapex.serve.page.analysis_process import AnalysisOutcome, AnalysisRequest, analyze_request
from echoapex.serve.page.app import create_app
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_models import load_named
from echoapex.serve.page.page_parts import PageParts

ORIGIN = "http://127.0.0.1:8765"
API = "/api/v1"


class PageClient:
    """What a test does with a page."""

    def __init__(self, client: TestClient, parts: PageParts) -> None:
        self.client = client
        self.parts = parts
        self.csrf = ""

    def open(self, token: str = "") -> dict[str, Any]:
        """Load the page: begin a session, with a token where one is needed."""
        found = self.get("/session")
        if token:
            found = self.client.post(
                f"{API}/session", json={"token": token}, headers={"x-echoapex-csrf": self.csrf}
            ).json()
        self.csrf = found["csrf"]
        return found

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON of an address."""
        answer = self.client.get(f"{API}{path}", **options)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def send(self, method: str, path: str, json: Any = None, status: int = 200, **options: Any) -> Any:
        """Change something."""
        headers = {"x-echoapex-csrf": self.csrf, **options.pop("headers", {})}
        answer = self.client.request(method, f"{API}{path}", json=json, headers=headers, **options)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None

    def upload(self, files: Sequence[Path | tuple[str, bytes]], status: int = 202) -> Any:
        """Upload files."""
        named = [(one.name, one.read_bytes()) if isinstance(one, Path) else one for one in files]
        parts = [("files", (name, content, "application/octet-stream")) for name, content in named]
        return self.send("POST", "/studies", status=status, files=parts)

    def study(self) -> str:
        """The key of the only study, as soon as it is ready."""
        return str(self.when_ready(1)[0]["study"])

    def when_ready(self, count: int) -> list[dict[str, Any]]:
        """The rows of the list, as soon as so many studies are done."""
        return self.until(lambda rows: len(rows) == count and all(row["state"] in _DONE for row in rows))

    def until(self, done: Callable[[list[dict[str, Any]]], bool], patience_s: float = 60.0) -> list[dict[str, Any]]:
        """The rows of the list, as soon as they are so."""
        ends = time.monotonic() + patience_s
        while True:
            rows: list[dict[str, Any]] = self.get("/studies")["studies"]
            if done(rows):
                return rows
            assert time.monotonic() < ends, rows
            time.sleep(0.02)


_DONE = ("ready", "failed", "signed")


class AnalysisHere:
    """Analyses in the thread of the queue: a test need not wait until a further process has started."""

    def run(self, request: AnalysisRequest, observer: Observer, stop: threading.Event) -> AnalysisOutcome:
        """Analyse a study."""
        models = load_named(request.bundle, request.device, request.options.precision)
        return analyze_request(models, request, observer, stop)

    def close(self) -> None:
        """Nothing is left."""


@contextmanager
def opened_page(state: Path, **settings: Any) -> Iterator[PageClient]:
    """A page that runs; with ``logged_in=False`` no session is begun, with ``own_process=True`` it analyses in one."""
    logged_in, own_process = settings.pop("logged_in", True), settings.pop("own_process", False)
    config = PageConfig.model_validate({"state": state, "bundle": "phantom", "limits": {"free_mb": 1}, **settings})
    parts = PageParts.open(config)
    if not own_process:
        parts.queue.analysis = AnalysisHere()
    with TestClient(create_app(config, parts), base_url=ORIGIN) as client:
        page = PageClient(client, parts)
        if logged_in:
            page.open()
        yield page
