"""The web application: routes under ``/api/v1``, the built front end at ``/``, guarded as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from echoapex.domain.results import DISCLAIMER
from echoapex.io.clip_source import ReadError
from echoapex.serve.page import (
    routes_clips,
    routes_corrections,
    routes_decoder,
    routes_explore,
    routes_learning,
    routes_review,
    routes_session,
    routes_studies,
)
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_parts import PageParts
from echoapex.serve.page.schemas import Problem
from echoapex.serve.page.security import API, PageError, PageGuard
from echoapex.version import __version__

ROUTERS: tuple[APIRouter, ...] = (
    routes_session.router,
    routes_studies.router,
    routes_clips.router,
    routes_corrections.router,
    routes_review.router,
    routes_decoder.router,
    routes_learning.router,
    routes_explore.router,
)
"""The routes by subject; a new subject is added here."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 409, 413, 422, 503)
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".onnx": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
_LASTING = "public, max-age=31536000, immutable"
"""Files under ``assets/`` have the digest of their content in their names."""
_NOT_BUILT = (
    "the page is not built here: run make web, or install the wheel, which has it; the API is at {}/openapi.json"
)


def create_app(config: PageConfig, parts: PageParts | None = None) -> FastAPI:
    """The application of a page; it analyses as long as it runs.

    Args:
        config: its settings.
        parts: what it is made of; by default opened from the settings.

    Raises:
        ConfigError: the state folder or the tokens file cannot be used.
        DatabaseError: the database cannot be used.
    """
    known = parts or PageParts.open(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        known.start()
        try:
            yield
        finally:
            known.close()

    app = FastAPI(
        title="EchoApex page",
        version=__version__,
        description=f"Review echocardiograms, correct them, and export. API version 1. {DISCLAIMER}",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # the documentation pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=_PROBLEMS,
    )
    app.state.parts = known
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    _handle_errors(app)
    _serve_files(app, config.web)
    app.add_middleware(PageGuard, config=config, sessions=known.sessions)
    return app


def _handle_errors(app: FastAPI) -> None:
    """Every refusal is ``{"detail": "one sentence"}`` and quotes nothing of the request."""

    def told(request: Request, error: Exception) -> Response:
        if isinstance(error, PageError):
            return JSONResponse({"detail": str(error)}, error.status)
        if isinstance(error, ReadError):
            return JSONResponse({"detail": f"the file {error.reason}; {error.remedy}"}, 409)
        if isinstance(error, RequestValidationError):
            return JSONResponse({"detail": _explain(error)}, 422)
        if isinstance(error, HTTPException):
            return JSONResponse({"detail": str(error.detail)}, error.status_code, headers=error.headers)
        raise error

    for kind in (PageError, ReadError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, told)


def _explain(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{place or 'the request'}: {message[:1].lower()}{message[1:]}; correct it and send it again"


def _serve_files(app: FastAPI, folder: Path) -> None:
    """The built front end; every other address outside the API is its first page, which reads the address itself."""
    root = folder.resolve()

    def not_known() -> Response:
        return JSONResponse({"detail": "there is no such address; see the OpenAPI of the server"}, 404)

    async def file(path: str) -> Response:
        if f"/{path}".startswith("/api/"):
            return not_known()
        found = _inside(root, path)
        if found is None and (path.startswith("assets/") or "." in path.rpartition("/")[2]):
            return not_known()
        found = found or _inside(root, "index.html")
        if found is None:
            return Response(_NOT_BUILT.format(API), 503, media_type="text/plain; charset=utf-8")
        lasting = path.startswith("assets/")
        headers = {"cache-control": _LASTING if lasting else "no-cache"}
        return FileResponse(found, media_type=_TYPES.get(found.suffix, "application/octet-stream"), headers=headers)

    app.get("/{path:path}", include_in_schema=False)(file)


def _inside(root: Path, path: str) -> Path | None:
    """A file of the front end; None for what lies outside or is none."""
    try:
        found = (root / path).resolve()
        return found if found.is_file() and found.is_relative_to(root) else None
    except (OSError, ValueError):  # a NUL, or a name that is too long
        return None
