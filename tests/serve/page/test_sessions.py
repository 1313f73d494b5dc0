"""Sessions end, tokens are kept as digests, and a user who is taken out of the file is out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from moved_clock import Clock

from echoapex.config import ConfigError
from echoapex.serve.database import Database
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.schemas import Role
from echoapex.serve.page.sessions import LoginLimit, Sessions, add_user, read_tokens

HOUR_S = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    found = Database(f"sqlite:///{tmp_path / 'state.db'}")
    found.migrate()
    return found


def test_a_session_ends_when_it_is_not_used_and_after_some_days(database: Database, clock: Clock) -> None:
    sessions = Sessions(database, None, PageLimits(session_hours=8, session_days=2), clock)
    cookie, session = sessions.begin_local()
    clock.now += 7 * HOUR_S
    assert sessions.find(cookie) is not None
    clock.now += 7 * HOUR_S
    restarted = Sessions(database, None, PageLimits(session_hours=8, session_days=2), clock)
    found = restarted.find(cookie)
    assert found is not None and found.csrf == session.csrf
    clock.now += 9 * HOUR_S
    assert restarted.find(cookie) is None
    cookie, _ = restarted.begin_local()
    for _ in range(10):
        clock.now += 5 * HOUR_S
        restarted.find(cookie)
    assert restarted.find(cookie) is None
    assert restarted.find("") is None and restarted.find("guessed") is None


def test_two_sessions_share_nothing(database: Database, clock: Clock) -> None:
    sessions = Sessions(database, None, PageLimits(), clock)
    (first, one), (second, two) = sessions.begin_local(), sessions.begin_local()
    assert first != second and one.csrf != two.csrf
    sessions.end(one)
    assert sessions.find(first) is None and sessions.find(second) == two


def test_users_come_and_go_with_the_file(database: Database, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    token = add_user(path, "anna", Role.REVIEWER)
    sessions = Sessions(database, path, PageLimits(), clock)
    begun = sessions.log_in(token)
    assert begun is not None and begun[1].role is Role.REVIEWER
    assert sessions.log_in(token[:-1]) is None and sessions.log_in("\ud800") is None
    new = add_user(path, "anna", Role.READER)
    assert sessions.find(begun[0]) is None
    assert sessions.log_in(token) is None
    again = sessions.log_in(new)
    assert again is not None and again[1].role is Role.READER
    path.write_text(json.dumps({"users": {}}))
    assert sessions.find(again[0]) is None
    without = Sessions(database, None, PageLimits(), clock)
    assert without.find(again[0]) is None


def test_a_local_session_is_none_where_tokens_are_demanded(database: Database, clock: Clock, tmp_path: Path) -> None:
    cookie, _ = Sessions(database, None, PageLimits(), clock).begin_local()
    add_user(tmp_path / "users.json", "anna", Role.READER)
    assert Sessions(database, tmp_path / "users.json", PageLimits(), clock).find(cookie) is None


@pytest.mark.parametrize("content", ['{"users": {"a": {"role": "king", "token_sha256": "0"}}}', "[]", '{"user": {}}'])
def test_a_wrong_tokens_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text(content)
    with pytest.raises(ConfigError, match=r"users\.json"):
        read_tokens(tmp_path / "users.json")


def test_attempts_are_counted_by_address_and_forgotten_after_a_minute(clock: Clock) -> None:
    limit = LoginLimit(2, clock)
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    assert limit.allows("b")
    clock.now += 61
    assert limit.allows("a")
    assert len(limit._attempts) == 2
    for number in range(5_000):
        limit.allows(str(number))
    assert len(limit._attempts) <= 1_000


def test_each_role_includes_those_before_it() -> None:
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
