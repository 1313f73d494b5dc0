"""Jobs that survive a crash: one worker at a time, growing waits between attempts, dead letters for a person.

A claim is a lease. A worker renews it while it works; if the worker dies, the lease ends and another worker takes the
job. What a job changes in the database is committed together with its end, and only by the worker that still holds it.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from echoapex.serve.database import DATABASE_ERRORS, JOBS, Database
from echoapex.serve.node_config import RetryRules

_LONGEST_REASON = 250


class JobKind(StrEnum):
    """What a job does."""

    ANALYZE = "analyze"
    SEND = "send"
    COMMIT = "commit"
    RETRIEVE = "retrieve"
    WORKITEM = "workitem"


class JobState(StrEnum):
    """How far a job is."""

    READY = "ready"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


class LostClaimError(RuntimeError):
    """The job went to another worker in the meantime; what was done is not committed."""


@dataclass(frozen=True)
class Job:
    """A job that this worker holds.

    Attributes:
        id: its number.
        kind: what it does.
        study_uid: the study.
        peer: name of the peer, for everything but analysis.
        digest: of the instances that it is about; empty for retrievals; the UID of a workitem.
        attempts: how often it was claimed, this time included.
        holder: the worker.
    """

    id: int
    kind: JobKind
    study_uid: str
    peer: str
    digest: str
    attempts: int
    holder: str


@dataclass(frozen=True)
class DeadLetter:
    """A job that waits for a person.

    Attributes:
        id: its number, for ``retry``.
        kind: what it was to do.
        study_uid: the study.
        peer: name of the peer.
        attempts: how often it was tried.
        reason: why it failed the last time.
    """

    id: int
    kind: str
    study_uid: str
    peer: str
    attempts: int
    reason: str


class JobQueue:
    """The jobs in a database.

    Args:
        database: where they are.
        rules: how often they are tried.
        clock: the time in seconds.
    """

    def __init__(self, database: Database, rules: RetryRules, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock

    @property
    def lease_s(self) -> float:
        """How long a claim is valid without being renewed."""
        return self._rules.lease_s

    def add(
        self, connection: sa.Connection, kind: JobKind, study_uid: str, *, peer: str = "", digest: str = ""
    ) -> bool:
        """Add a job unless the same one was added before, whatever became of it; returns whether it is new."""
        now = self._clock()
        values = {"kind": kind, "study_uid": study_uid, "peer": peer, "digest": digest, "state": JobState.READY}
        times = {"not_before": now, "lease_until": 0.0, "created": now, "changed": now}
        return self._database.insert_new(connection, JOBS, **values, **times, attempts=0, holder="", reason="")

    def reopen(self, connection: sa.Connection, kind: JobKind, study_uid: str, *, peer: str, digest: str) -> None:
        """Let a finished job be done once more."""
        same = (JOBS.c.kind == kind) & (JOBS.c.study_uid == study_uid) & (JOBS.c.peer == peer)
        ended = JOBS.c.state.in_((JobState.DONE, JobState.DEAD))
        change = sa.update(JOBS).where(same & (JOBS.c.digest == digest) & ended)
        connection.execute(change.values(state=JobState.READY, attempts=0, not_before=self._clock(), reason=""))

    def claim(self, worker: str, kinds: Sequence[JobKind]) -> Job | None:
        """Take the next job that is due, so that nobody else does it; None where nothing is due."""
        now = self._clock()
        due = (JOBS.c.state == JobState.READY) & (JOBS.c.not_before <= now)
        abandoned = (JOBS.c.state == JobState.CLAIMED) & (JOBS.c.lease_until < now)
        wanted = JOBS.c.kind.in_(kinds) & (due | abandoned)
        with self._database.read() as connection:  # most times nothing is due, and nobody should wait for that
            if connection.execute(sa.select(JOBS.c.id).where(wanted).limit(1)).first() is None:
                return None
        query = sa.select(JOBS).where(wanted).order_by(JOBS.c.not_before, JOBS.c.id).limit(1)
        query = query.with_for_update(skip_locked=True)
        while True:
            with self._database.begin() as connection:
                row = connection.execute(query).mappings().first()
                if row is None:
                    return None
                change = sa.update(JOBS).where(JOBS.c.id == row["id"])
                if row["state"] == JobState.CLAIMED and row["attempts"] >= self._rules.attempts:
                    reason = "its worker ended without a word each time"
                    connection.execute(change.values(state=JobState.DEAD, holder="", reason=reason, changed=now))
                    continue
                holder = f"{worker}/{secrets.token_hex(8)}"
                taken = {"attempts": row["attempts"] + 1, "lease_until": now + self._rules.lease_s}
                connection.execute(change.values(state=JobState.CLAIMED, holder=holder, changed=now, **taken))
                names = ("id", "study_uid", "peer", "digest")
                known = {name: row[name] for name in names}
                return Job(**known, kind=JobKind(row["kind"]), attempts=row["attempts"] + 1, holder=holder)

    def renew(self, job: Job) -> None:
        """Say that the job is still being worked on.

        Raises:
            LostClaimError: it went to another worker.
        """
        with self._database.begin() as connection:
            self._change(connection, job, lease_until=self._clock() + self._rules.lease_s)

    @contextmanager
    def finishing(self, job: Job) -> Iterator[sa.Connection]:
        """A transaction that ends the job; what the block changes is committed with it.

        Raises:
            LostClaimError: it went to another worker; nothing is committed.
        """
        with self._database.begin() as connection:
            self._change(connection, job, state=JobState.DONE, holder="", reason="")
            yield connection

    def fail(self, job: Job, reason: str, *, for_good: bool = False) -> bool:
        """Let the job be tried again later, or never; returns whether it is a dead letter now."""
        dead = for_good or job.attempts >= self._rules.attempts
        wait_s = min(self._rules.longest_s, self._rules.first_s * 2.0 ** (job.attempts - 1))
        state = JobState.DEAD if dead else JobState.READY
        with suppress(LostClaimError), self._database.begin() as connection:
            later = self._clock() + wait_s
            self._change(connection, job, state=state, holder="", reason=reason[:_LONGEST_REASON], not_before=later)
        return dead

    def give_back(self, job: Job, wait_s: float = 0.0, reason: str = "", *, fresh: bool = False) -> None:
        """Let the job be done later, as if it had not been claimed.

        Args:
            job: the job.
            wait_s: not before so long.
            reason: why it waits.
            fresh: forget earlier failures too, because a step of it was done.
        """
        with suppress(LostClaimError), self._database.begin() as connection:
            attempts = 0 if fresh else job.attempts - 1
            state = {"state": JobState.READY, "holder": "", "attempts": attempts, "reason": reason}
            self._change(connection, job, **state, not_before=self._clock() + wait_s)

    def _change(self, connection: sa.Connection, job: Job, **values: Any) -> None:
        mine = (JOBS.c.id == job.id) & (JOBS.c.holder == job.holder) & (JOBS.c.state == JobState.CLAIMED)
        done = connection.execute(sa.update(JOBS).where(mine).values(**values, changed=self._clock()))
        if done.rowcount != 1:
            raise LostClaimError(f"job {job.id} went to another worker")

    def release_ended(self) -> int:
        """Free the jobs of processes of this machine that are gone; returns how many."""
        prefix = f"{machine_name()}/"
        freed = 0
        with self._database.begin() as connection:
            rows = connection.execute(sa.select(JOBS.c.id, JOBS.c.holder).where(JOBS.c.state == JobState.CLAIMED)).all()
            for number, holder in rows:
                process = holder.removeprefix(prefix).split("/")[0]
                if holder.startswith(prefix) and not _is_running(process):
                    same = (JOBS.c.id == number) & (JOBS.c.holder == holder)
                    connection.execute(sa.update(JOBS).where(same).values(lease_until=0.0))
                    freed += 1
        return freed

    def dead_letters(self) -> list[DeadLetter]:
        """The jobs that wait for a person, oldest first."""
        names = ("id", "kind", "study_uid", "peer", "attempts", "reason")
        query = sa.select(*(JOBS.c[name] for name in names)).where(JOBS.c.state == JobState.DEAD).order_by(JOBS.c.id)
        with self._database.read() as connection:
            return [DeadLetter(**row) for row in connection.execute(query).mappings()]

    def retry(self, numbers: Sequence[int] | None = None) -> int:
        """Let dead letters be tried again from the beginning; returns how many.

        Args:
            numbers: of the jobs; all dead letters when left out.
        """
        dead = JOBS.c.state == JobState.DEAD
        if numbers is not None:
            dead &= JOBS.c.id.in_(list(numbers))
        now = self._clock()
        with self._database.begin() as connection:
            change = sa.update(JOBS).where(dead).values(state=JobState.READY, attempts=0, not_before=now, changed=now)
            return int(connection.execute(change).rowcount)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many jobs there are, by kind and state."""
        query = sa.select(JOBS.c.kind, JOBS.c.state, sa.func.count()).group_by(JOBS.c.kind, JOBS.c.state)
        with self._database.read() as connection:
            return {(kind, state): number for kind, state, number in connection.execute(query)}


def machine_name() -> str:
    """What tells this machine from others that share the database."""
    return socket.gethostname()[:40].replace("/", "-")


def worker_name() -> str:
    """What a process is called in its claims: machine, process, and a part for the thread."""
    return f"{machine_name()}/{process_name(os.getpid())}"


def process_name(process: int) -> str:
    """The number of a process with its start time, because numbers are used again."""
    return f"{process}-{_state_of(process)[1]}"


def _state_of(process: int) -> tuple[str, str]:
    """State and start time of a process as Linux tells them (proc(5)); empty and 0 elsewhere."""
    try:
        about = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        fields = about.rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", "0"


def _is_running(process: str) -> bool:
    number = process.partition("-")[0]
    if not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    state, start = _state_of(int(number))
    return state != "Z" and f"{number}-{start}" == process  # Z: killed, but its parent has not taken notice


QUEUE_ERRORS = (*DATABASE_ERRORS, LostClaimError)
"""What a worker may meet between two jobs."""
