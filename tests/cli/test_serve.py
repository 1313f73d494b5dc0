"""`echoapex serve` as a person types it: the address, a restart that keeps everything, TLS, one line for mistakes."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import make_certificates
from small_echo import write_small_study

from echoapex.cli import run
from echoapex.cli.console import ExitCode

Captured = pytest.CaptureFixture[str]
_COMMAND = "from echoapex.cli import main; main()"
_PATIENCE_S = 90.0


class RunningPage:
    """`echoapex serve` as a process of its own."""

    def __init__(self, *arguments: str, tls: ssl.SSLContext | None = None) -> None:
        command = [sys.executable, "-c", _COMMAND, "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
        watchdog = threading.Timer(_PATIENCE_S, self.process.kill)
        watchdog.start()
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        found = re.match(r"the page is at (https?://127\.0\.0\.1:\d+/) \(stop it with Ctrl-C\)", first)
        assert found, first + self.process.stderr.read()
        watchdog.cancel()
        self.client = httpx.Client(base_url=f"{found[1]}api/v1", verify=tls or True, timeout=_PATIENCE_S)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End the process; returns its exit code, and the rest of what it said."""
        self.client.close()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=_PATIENCE_S)
        return self.process.returncode, said

    def when_done(self) -> list[dict[str, Any]]:
        """The rows of the list, as soon as none waits."""
        with self.client.stream("GET", "/events") as news:
            for _ in news.iter_lines():  # the first line comes at once, then one with each change
                rows: list[dict[str, Any]] = self.client.get("/studies").json()["studies"]
                if rows and all(row["state"] in ("ready", "failed") for row in rows):
                    return rows
        raise AssertionError("the stream of news ended")


@pytest.fixture
def started() -> Iterator[Callable[..., RunningPage]]:
    """Starts pages, and ends what a test left running."""
    pages: list[RunningPage] = []

    def start(*arguments: str, **options: Any) -> RunningPage:
        pages.append(RunningPage(*arguments, **options))
        return pages[-1]

    yield start
    for one in pages:
        one.process.kill()


def test_a_restart_keeps_studies_and_decisions(started: Callable[..., RunningPage], tmp_path: Path) -> None:
    write_small_study(tmp_path / "studies")
    arguments = ("--studies", str(tmp_path / "studies"), "--state", str(tmp_path / "state"), "--bundle", "phantom")
    first = started(*arguments)
    (row,) = first.when_done()
    assert row["state"] == "ready"
    csrf = first.client.get("/session").json()["csrf"]
    changed = first.client.patch(
        f"/studies/{row['study']}/values/ivsd",
        json={"state": "edited", "value": 9.5},
        headers={"x-echoapex-csrf": csrf},
    )
    assert changed.status_code == 200
    cookies = dict(first.client.cookies)
    with first.client.stream("GET", "/events"):  # an open stream does not keep the server from ending
        code, said = first.stop()
    assert code == ExitCode.TERMINATED
    assert "Traceback" not in said
    second = started(*arguments)
    second.client.cookies.update(cookies)
    assert second.client.get("/session").json()["csrf"] == csrf  # the session goes on
    (again,) = second.client.get("/studies").json()["studies"]
    assert again == {**row, "reviewed": True}
    values = second.client.get(f"/studies/{row['study']}").json()["values"]
    assert next(value["value"] for value in values if value["id"] == "ivsd") == 9.5
    code, _ = second.stop(signal.SIGINT)
    assert code in (ExitCode.ALL_GOOD, ExitCode.INTERRUPTED)


def test_other_machines_are_served_by_tls_alone(started: Callable[..., RunningPage], tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    tokens = tmp_path / "users.json"
    assert run(["serve", "user", "anna", "--tokens", str(tokens), "--role", "admin"]) == ExitCode.ALL_GOOD
    assert tokens.stat().st_mode & 0o777 == 0o600
    trusted = ssl.create_default_context(cafile=str(files.ca))
    page = started(
        *("--state", str(tmp_path / "state"), "--bundle", "phantom", "--tokens", str(tokens)),
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        tls=trusted,
    )
    answer = page.client.get("/session")
    assert answer.json()["needs_login"] and "max-age" in answer.headers["strict-transport-security"]
    assert page.client.get("/studies").status_code == 401
    page.stop()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--host", "0.0.0.0"), "can be reached from other machines: give --tokens and --tls-cert with --tls-key"),
        (("--studies", "nowhere"), "nowhere: is neither a folder nor an address that ends with /studies/UID"),
        (("--bundle", "nonesuch"), "nonesuch"),
        (("--tokens", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--tls-cert", "none.pem", "--tls-key", "none.pem"), "--tls-cert or --tls-key cannot be used"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], told: str, tmp_path: Path, capsys: Captured) -> None:
    code = run(["serve", "--port", "0", "--state", str(tmp_path / "state"), *arguments])
    assert code == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith("echoapex serve: ") and told in said and said.count("\n") == 1


def test_a_token_is_shown_once_and_not_kept(tmp_path: Path, capsys: Captured) -> None:
    tokens = tmp_path / "users.json"
    assert run(["serve", "user", "anna", "--tokens", str(tokens)]) == ExitCode.ALL_GOOD
    token = capsys.readouterr().out.strip()
    assert len(token) >= 40 and token not in tokens.read_text()
    assert run(["serve", "user", "Anna Doe", "--tokens", str(tokens)]) == ExitCode.USAGE
    assert "small letters" in capsys.readouterr().err
