"""Runs of learning on the disk, and the process of one: ``echoapex finetune`` on the corrections of the page.

A run has a folder ``STATE/learning/RUN`` with ``run.json`` (what was asked for and what came of it), the journal of the
training, and ``log.txt`` with what the process said.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.recipes.site_sets import RECIPES, RunOutcome, read_outcome
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import Application

_RECORD, _LOG_FILE = "run.json", "log.txt"
_TICK_S = 0.5
_PATIENCE_S = 60.0
_ENTRY = "import os; os.nice(10); from echoapex.cli import main; main()"
"""Readers come first: the page stays quick while it learns."""
_CHECK = (
    "import os, sys; os.nice(10); from echoapex.recipes.forgetting_check import write_check; write_check(*sys.argv[1:])"
)
_PREPARED = "stores"
CANDIDATE = "candidate"
"""Folder of the set that a run made, while it is looked at."""
_HEAVY = (CANDIDATE, "bundles", "checkpoint.safetensors", "good.safetensors")


class RunState(StrEnum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


WAITING = (RunState.QUEUED, RunState.RUNNING)


class StoredRun(Config):
    """A run as it is stored.

    Attributes:
        run: its name.
        task: what is learned.
        state: how far it is.
        created: seconds since 1970.
        start: name or folder of the set that it goes on from.
        version: the site's version that it became.
        steps: updates of the whole run.
        error: why it failed.
        pid: of its process, while it runs.
        labels: what it learns from: clips, patients who teach, patients who judge.
    """

    run: str
    task: Application
    state: RunState = RunState.QUEUED
    created: float
    start: str
    version: int | None = None
    steps: int = 0
    error: str = ""
    pid: int = 0
    labels: dict[str, int] = Field(default_factory=dict)


class RunFiles:
    """The folders of runs.

    Args:
        folder: ``STATE/learning``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def place(self, run: str) -> Path:
        """Folder of a run."""
        return self._folder / run

    def all(self) -> list[StoredRun]:
        """All runs, the newest first; one whose record is damaged is left out."""
        found = []
        for path in self._folder.glob(f"*/{_RECORD}"):
            try:
                found.append(StoredRun.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                continue
        return sorted(found, key=lambda record: (record.created, record.run), reverse=True)

    def get(self, run: str) -> StoredRun:
        """One run.

        Raises:
            PageError: there is no such run.
        """
        found = next((record for record in self.all() if record.run == run), None)
        if found is None:
            raise PageError("there is no such run of learning; load the page again", 404)
        return found

    def add(self, task: Application, start: str, labels: dict[str, int]) -> StoredRun:
        """A new run, which waits for its turn."""
        with self._lock:
            names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
            number = 1 + max((int(name[1:]) for name in names if name[1:].isdecimal()), default=0)
            record = StoredRun(run=f"r{number:04d}", task=task, created=time.time(), start=start, labels=labels)
            self.save(record)
        return record

    def save(self, record: StoredRun) -> None:
        """Write a run down."""
        place = self.place(record.run)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes_atomically(place / _RECORD, (record.model_dump_json(indent=1) + "\n").encode())

    def outcome(self, record: StoredRun) -> RunOutcome:
        """How far a run is and how good, from its journal."""
        return read_outcome(self.place(record.run), record.steps)

    def tidy(self, run: str) -> None:
        """Delete what a finished run does not need any more: prepared frames, checkpoints and weights."""
        shutil.rmtree(self._folder / _PREPARED, ignore_errors=True)
        for name in _HEAVY:
            path = self.place(run) / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def last_words(self, run: str) -> str:
        """The last line that the process of a run said, without the name of the command."""
        try:
            lines = (self.place(run) / _LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1].removeprefix("echoapex finetune: ")[:500] if said else ""

    def end_orphan(self, record: StoredRun) -> None:
        """End the process of a run that outlived the server before this one."""
        if not record.pid or not self._is_own(record):
            return
        _send(record.pid, signal.SIGTERM)
        ends = time.monotonic() + _PATIENCE_S
        while self._is_own(record) and time.monotonic() < ends:
            time.sleep(_TICK_S / 5)
        if self._is_own(record):
            _send(record.pid, signal.SIGKILL)

    def _is_own(self, record: StoredRun) -> bool:
        """Whether the process number still belongs to the run; numbers are used again."""
        try:
            words = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return str(self.place(record.run)).encode() in words


def finetune_command(record: StoredRun, state: Path, out: Path, more: Sequence[str]) -> list[str]:
    """The command of a run: what a person would type, with the interpreter of this process."""
    words = [sys.executable, "-c", _ENTRY, "finetune", RECIPES[record.task], "--dataset", "corrections"]
    words += ["--root", str(state), "--out", str(out), "--task.start", record.start, "--train.trackers", "[]"]
    return [*words, *more]


def check_command(out: Path, before: str, device: str, patients: int) -> list[str]:
    """The command that scores the set in use and the one that a run made on simulated patients, into ``out``."""
    return [sys.executable, "-c", _CHECK, str(out), before, str(out / CANDIDATE), device, str(patients)]


class RunProcess:
    """One process of a run, watched until it ends.

    Args:
        command: what runs.
        out: folder of the run; its log lies there.
    """

    def __init__(self, command: Sequence[str], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        with (out / _LOG_FILE).open("ab") as log:
            # a session of its own: Ctrl-C in the server's terminal is for the server, which ends this one in order
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def watch(self, should_end: Callable[[], bool], tick: Callable[[], None]) -> int:
        """Wait for the end; returns the exit code.

        Args:
            should_end: asked again and again; once it is true the process is told to stop (SIGTERM).
            tick: called about twice a second.
        """
        told_s: float | None = None
        try:
            while True:
                try:
                    return self._process.wait(_TICK_S)
                except subprocess.TimeoutExpired:
                    tick()
                if told_s is None and should_end():
                    self._process.terminate()
                    told_s = time.monotonic()
                elif told_s is not None and time.monotonic() - told_s > _PATIENCE_S:
                    self._process.kill()
        finally:
            if self._process.poll() is None:  # a tick failed: nobody would watch it any more
                self._process.kill()
                self._process.wait()


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return
