"""Who uses the page: users with roles and tokens, and their sessions, which end.

A token is random (256 bits), so its plain SHA-256 in the tokens file says nothing about it. A session goes by a random
cookie; the database holds its digest, so that nobody who reads the database can take a session over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from echoapex.config import Config, ConfigError, build_config, read_recipe
from echoapex.io.temporary_files import replace_when_complete
from echoapex.serve.database import Database
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.schemas import Role
from echoapex.serve.page.tables import PAGE_SESSIONS

COOKIE = "echoapex_session"
LOCAL_USER = "local user"
_USER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HOUR_S, _DAY_S, _MINUTE_S = 3600.0, 86_400.0, 60.0
_MOST_SESSIONS = 5_000
_MOST_ADDRESSES = 1_000


class PageUser(Config):
    """One user of the tokens file."""

    role: Role
    token_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class TokensFile(Config):
    """Content of the tokens file: the users by their names."""

    users: dict[str, PageUser] = Field(default_factory=dict)


def read_tokens(path: Path) -> TokensFile:
    """Read the users of the page.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    return build_config(TokensFile, read_recipe(path), path.name)


def add_user(path: Path, name: str, role: Role) -> str:
    """Give a user a new token, which replaces an earlier one; the file is made where it is missing.

    Returns:
        The token, which is written nowhere.

    Raises:
        ConfigError: the name is not allowed, or the file cannot be used.
    """
    if _USER_NAME.fullmatch(name) is None:
        raise ConfigError(f"{name!r}: a user is called by up to 32 small letters, digits, - and _, a letter first")
    known = read_tokens(path) if path.exists() else TokensFile()
    token = secrets.token_urlsafe(32)
    users = {**known.users, name: PageUser(role=role, token_sha256=_digest(token))}
    content = TokensFile(users=dict(sorted(users.items()))).model_dump(mode="json")
    try:
        with replace_when_complete(path) as partial:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(content, stream, indent=1)
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be written ({error.strerror}); choose another --tokens") from None
    return token


@dataclass(frozen=True)
class PageSession:
    """A session.

    Attributes:
        digest: of its cookie; empty for the user of this machine before a session was begun.
        user: who.
        role: what the user may do.
        csrf: what changes must carry in the header.
        begun: when it began, in seconds.
        seen: when it was used last.
    """

    digest: str
    user: str
    role: Role
    csrf: str
    begun: float
    seen: float


LOCAL_SESSION = PageSession("", LOCAL_USER, Role.ADMIN, "", 0.0, 0.0)


class LoginLimit:
    """How often one address may try to log in.

    Args:
        per_minute: attempts.
        clock: the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.time) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, address: str) -> bool:
        """Count an attempt; whether it may go on."""
        now = self._clock()
        with self._lock:
            attempts = self._attempts.setdefault(address, deque())
            self._attempts.move_to_end(address)
            while len(self._attempts) > _MOST_ADDRESSES:
                self._attempts.popitem(last=False)
            while attempts and attempts[0] < now - _MINUTE_S:
                attempts.popleft()
            if len(attempts) >= self._per_minute:
                return False
            attempts.append(now)
            return True


class Sessions:
    """The sessions in the database.

    Args:
        database: where they are kept.
        tokens: file of the users; None where the user of this machine needs no token.
        limits: how long sessions last.
        clock: the time in seconds.
    """

    def __init__(
        self, database: Database, tokens: Path | None, limits: PageLimits, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._limits = limits
        self._clock = clock
        self._known: OrderedDict[str, PageSession] = OrderedDict()
        self._lock = threading.Lock()
        self._users, self._read_at = TokensFile(), -1
        self._read_users()
        self.logins = LoginLimit(limits.logins_per_minute, clock)

    @property
    def needs_login(self) -> bool:
        """Whether users need a token."""
        return self._tokens is not None

    def log_in(self, token: str) -> tuple[str, PageSession] | None:
        """Begin a session with a token; returns the cookie and the session, or None for a wrong token."""
        self._read_users()
        digest, found = _digest(token), None
        for name, user in self._users.users.items():
            if hmac.compare_digest(user.token_sha256, digest):
                found = (name, user.role)
        return None if found is None else self._begin(*found)

    def _read_users(self) -> None:
        """Read the tokens file, and again whenever it was changed."""
        if self._tokens is None:
            return
        try:
            changed_at = self._tokens.stat().st_mtime_ns
        except OSError:
            changed_at = 0
        if changed_at != self._read_at:
            self._users, self._read_at = read_tokens(self._tokens), changed_at

    def begin_local(self) -> tuple[str, PageSession]:
        """Begin a session of the user of this machine."""
        return self._begin(LOCAL_USER, Role.ADMIN)

    def _begin(self, user: str, role: Role) -> tuple[str, PageSession]:
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = PageSession(_digest(cookie), user, role, secrets.token_urlsafe(24), now, now)
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_SESSIONS).where(~self._lasts(now)))
            oldest = sa.select(PAGE_SESSIONS.c.digest).order_by(PAGE_SESSIONS.c.seen.desc()).offset(_MOST_SESSIONS)
            connection.execute(sa.delete(PAGE_SESSIONS).where(PAGE_SESSIONS.c.digest.in_(oldest)))
            connection.execute(sa.insert(PAGE_SESSIONS).values(**session.__dict__))
        self._remember(session)
        return cookie, session

    def find(self, cookie: str) -> PageSession | None:
        """The session of a cookie, if it has not ended."""
        if not cookie:
            return None
        digest, now = _digest(cookie), self._clock()
        with self._lock:
            session = self._known.get(digest)
        if session is None:
            with self._database.read() as connection:
                query = sa.select(PAGE_SESSIONS).where(PAGE_SESSIONS.c.digest == digest)
                row = connection.execute(query).mappings().first()
            if row is None:
                return None
            session = PageSession(**{**row, "role": Role(row["role"])})
        if not self._is_alive(session, now) or not self._is_known(session):
            self.end(session)
            return None
        if now - session.seen > _MINUTE_S:
            session = replace(session, seen=now)
            with self._database.begin() as connection:
                same = PAGE_SESSIONS.c.digest == digest
                connection.execute(sa.update(PAGE_SESSIONS).where(same).values(seen=now))
        self._remember(session)
        return session

    def end(self, session: PageSession) -> None:
        """End a session."""
        with self._lock:
            self._known.pop(session.digest, None)
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_SESSIONS).where(PAGE_SESSIONS.c.digest == session.digest))

    def _remember(self, session: PageSession) -> None:
        with self._lock:
            self._known[session.digest] = session
            self._known.move_to_end(session.digest)
            while len(self._known) > _MOST_SESSIONS:
                self._known.popitem(last=False)

    def _is_known(self, session: PageSession) -> bool:
        """Whether the user is still one, with the same role; a session from before tokens were demanded is not."""
        if self._tokens is None:
            return session.user == LOCAL_USER
        self._read_users()
        user = self._users.users.get(session.user)
        return user is not None and user.role == session.role

    def _is_alive(self, session: PageSession, now: float) -> bool:
        idle, age = self._limits.session_hours * _HOUR_S, self._limits.session_days * _DAY_S
        return now - session.seen <= idle and now - session.begun <= age

    def _lasts(self, now: float) -> sa.ColumnElement[bool]:
        idle, age = self._limits.session_hours * _HOUR_S, self._limits.session_days * _DAY_S
        return (PAGE_SESSIONS.c.seen >= now - idle) & (PAGE_SESSIONS.c.begun >= now - age)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
