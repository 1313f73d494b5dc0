"""The page as a browser sees it: its files, its headers, its description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from page_client import PageClient

from echoapex.domain.results import DISCLAIMER
from echoapex.serve.page.security import CONTENT_POLICY
from echoapex.version import __version__

Pages = Callable[..., PageClient]


def test_the_api_describes_itself(page: Pages) -> None:
    described = page().get("/openapi.json")
    assert described["info"]["title"] == "EchoApex page"
    assert described["info"]["version"] == __version__
    assert DISCLAIMER in described["info"]["description"]
    assert all(path.startswith("/api/v1/") for path in described["paths"])


def test_built_files_have_their_types_and_lasting_names(page: Pages, tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>page</title>")
    (web / "assets" / "app-1a2b.js").write_text("export {}")
    (web / "assets" / "ort.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text("secret")
    client = page(web=web).client
    for path, kind, lasting in (
        ("/", "text/html; charset=utf-8", False),
        ("/studies/0123", "text/html; charset=utf-8", False),
        ("/assets/app-1a2b.js", "text/javascript; charset=utf-8", True),
        ("/assets/ort.wasm", "application/wasm", True),
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == kind
        assert ("immutable" in answer.headers["cache-control"]) == lasting
        assert answer.headers["content-security-policy"] == CONTENT_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
    for path in (
        "/assets/none.js",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/api/v2/x",
    ):
        answer = client.get(path)
        assert answer.status_code == 404 and "secret" not in answer.text.replace("secret.txt", ""), path


def test_a_page_that_is_not_built_says_so(page: Pages, tmp_path: Path) -> None:
    answer = page(web=tmp_path / "nothing").client.get("/")
    assert answer.status_code == 503
    assert "not built" in answer.text


def test_no_inline_script_may_run() -> None:
    assert "script-src 'self' 'wasm-unsafe-eval';" in CONTENT_POLICY
    assert "worker-src 'self' blob:" in CONTENT_POLICY
    assert "frame-ancestors 'none'" in CONTENT_POLICY
    assert "unsafe-inline" not in CONTENT_POLICY
