"""What every request must pass: host, origin, session, CSRF header, size; and the headers of every answer.

A page of another site cannot use this one: a browser names the host it believes to talk to (DNS rebinding shows there),
the site that sends a request (``Origin``, ``Sec-Fetch-Site``), and no other site can read the CSRF token. Answers name
no internal error, because its message may quote a file.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.schemas import Role
from echoapex.serve.page.sessions import COOKIE, LOCAL_SESSION, PageSession, Sessions

_LOG = logging.getLogger("echoapex.page")
CSRF_HEADER = "x-echoapex-csrf"
API = "/api/v1"
_SAFE = ("GET", "HEAD", "OPTIONS")
_JSON_BYTES = 32_000_000
_UPLOAD_ROOM = 16_000_000
"""What multipart adds to the files of an upload."""
_WITHOUT_SESSION = (f"{API}/session", f"{API}/health", f"{API}/openapi.json")
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script, no other site; WebAssembly and workers for the decoder in the browser."""
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
}


class PageError(ValueError):
    """A request that cannot be done; the message says what is wrong and what to do, and names nobody.

    Attributes:
        status: of the HTTP answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class PageGuard:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        config: who may reach the page.
        sessions: who uses it.
    """

    def __init__(self, app: ASGIApp, config: PageConfig, sessions: Sessions) -> None:
        self._app = app
        self._config = config
        self._sessions = sessions
        self._hosts = config.allowed_hosts
        self._headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        if config.has_tls:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = self._with_headers(message, scope)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, _Counted(receive, self._most_bytes(scope)), answer)
        except PageError as error:
            if not begun:
                await _refuse(answer, error.status, str(error))
        except Exception as error:  # its message may quote a file: only its kind is told
            _LOG.error("%s %s failed (%s)", scope["method"], scope.get("route_name", "a request"), type(error).__name__)
            _LOG.debug("its traceback", exc_info=error)
            if not begun:
                await _refuse(answer, 500, "this failed in the server; try again, and look at the log of the server")

    def _check(self, scope: Scope) -> None:
        headers = _headers_of(scope)
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            raise PageError(
                "this server has another name; open the address that it printed, or start it with --name", 403
            )
        changes = scope["method"] not in _SAFE
        self._check_origin(headers, host, scope, changes=changes)
        session = self._session(headers)
        scope.setdefault("state", {})["session"] = session
        path = scope["path"]
        if not path.startswith(API) or (path in _WITHOUT_SESSION and not (changes and session)):
            return
        if session is None:
            raise PageError("log in first: your session has ended, or there was none", 401)
        if not changes:
            return
        given = headers.get(CSRF_HEADER, "")
        if not session.csrf or not hmac.compare_digest(given.encode(), session.csrf.encode()):
            raise PageError("the request did not come from the page; load the page again", 403)
        if path != f"{API}/session" and not session.role.includes(Role.REVIEWER):
            raise PageError("a reader cannot change anything; ask for the role reviewer", 403)

    def _check_origin(self, headers: dict[str, str], host: str, scope: Scope, *, changes: bool) -> None:
        """Refuse what another site sent; a link from elsewhere to the page itself is harmless."""
        site = headers.get("sec-fetch-site", "same-origin")
        is_page = not scope["path"].startswith("/api/")
        if site not in ("same-origin", "none") and (changes or not is_page):
            raise PageError("another site sent this request; open the page itself", 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise PageError("another site sent this request; open the page itself", 403)

    def _session(self, headers: dict[str, str]) -> PageSession | None:
        found = self._sessions.find(_cookie(headers.get("cookie", "")))
        return LOCAL_SESSION if found is None and self._config.is_local else found

    def _most_bytes(self, scope: Scope) -> int:
        is_upload = scope["path"].rstrip("/") == f"{API}/studies"
        most = self._config.limits.upload_bytes + _UPLOAD_ROOM if is_upload else _JSON_BYTES
        declared = _headers_of(scope).get("content-length", "0")
        if not declared.isdigit():
            raise PageError("the length of the request is no number; load the page again", 400)
        if int(declared) > most:
            raise PageError(_too_large(most), 413)
        return most

    def _with_headers(self, message: Message, scope: Scope) -> Message:
        given = list(message.get("headers", ()))
        names = {name.lower() for name, _ in given}
        given += [(name, value) for name, value in self._headers if name not in names]
        if scope["path"].startswith(API) and b"cache-control" not in names:
            given.append((b"cache-control", b"no-store"))
        return {**message, "headers": given}


class _Counted:
    """The body of a request, up to a limit."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._seen = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        """The next part."""
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._most:
            raise PageError(_too_large(self._most), 413)
        return message


def _too_large(most: int) -> str:
    return f"the request is larger than {most // 1_000_000} MB; upload fewer files at once"


def _headers_of(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
