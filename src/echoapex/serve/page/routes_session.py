"""Session, news and health."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from echoapex.domain.results import DISCLAIMER
from echoapex.serve.page.page_parts import PageParts, Parts, User
from echoapex.serve.page.schemas import HealthAnswer, Login, Role, SessionInfo
from echoapex.serve.page.security import PageError
from echoapex.serve.page.sessions import COOKIE, PageSession
from echoapex.version import __version__

router = APIRouter(tags=["session"])
_NOBODY = PageSession("", "", Role.READER, "", 0.0, 0.0)


@router.get("/health")
def health() -> HealthAnswer:
    """Whether the server runs."""
    return HealthAnswer()


@router.get("/session")
def get_session(request: Request, response: Response, parts: Parts) -> SessionInfo:
    """Who uses the page; on this machine alone, without a tokens file, a session begins by itself."""
    session: PageSession | None = request.scope["state"]["session"]
    if session is not None and not session.digest:
        cookie, session = parts.sessions.begin_local()
        _set_cookie(response, cookie, parts)
    return _info(session, parts)


@router.post("/session")
def log_in(login: Login, request: Request, response: Response, parts: Parts) -> SessionInfo:
    """Begin a session with a token."""
    address = request.client.host if request.client else ""
    if not parts.sessions.logins.allows(address):
        raise PageError("too many attempts to log in; wait a minute", 429)
    found = parts.sessions.log_in(login.token)
    if found is None:
        raise PageError("this token is not known; ask the administrator for one", 401)
    _set_cookie(response, found[0], parts)
    return _info(found[1], parts)


@router.delete("/session", status_code=204)
def log_out(response: Response, parts: Parts, user: User) -> None:
    """End the session."""
    parts.sessions.end(user)
    response.delete_cookie(COOKIE, path="/")


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def watch(request: Request, parts: Parts, user: User) -> StreamingResponse:
    """News as server-sent events: ``study`` with a row of the list, ``learning`` with a run."""
    cookie = request.cookies.get(COOKIE, "")

    def goes_on() -> bool:
        return parts.config.is_local or parts.sessions.find(cookie) is not None

    return StreamingResponse(parts.events.stream(goes_on), media_type="text/event-stream")


def _info(session: PageSession | None, parts: PageParts) -> SessionInfo:
    shown = session or _NOBODY
    return SessionInfo(
        user=shown.user,
        role=shown.role,
        csrf=shown.csrf,
        version=__version__,
        disclaimer=DISCLAIMER,
        weights=parts.models.describe(),
        needs_login=session is None,
    )


def _set_cookie(response: Response, cookie: str, parts: PageParts) -> None:
    age = int(parts.config.limits.session_days * 86_400)
    response.set_cookie(
        COOKIE, cookie, max_age=age, path="/", secure=parts.config.has_tls, httponly=True, samesite="strict"
    )
