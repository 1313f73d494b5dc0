"""What was sent to whom: each result goes to each peer once, whatever happens in between.

A row says ``pending`` (never sent), ``started`` (sending began; the peer may have it), ``sent`` or ``committed``. Only
an object that was ``started`` is looked for at the peer before it is sent again. Its SOP instance UID never changes, so
even a peer that cannot be asked sees the same object and no second one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from echoapex.serve.database import RESULTS, SENDS, Database
from echoapex.serve.jobs import Job, JobKind, JobQueue


class SendState(StrEnum):
    """How far an object is on its way to a peer."""

    PENDING = "pending"
    STARTED = "started"
    SENT = "sent"
    COMMITTED = "committed"


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object that is sent.

    Attributes:
        sop_uid: its SOPInstanceUID; the same analysis always makes the same.
        sop_class: its SOPClassUID.
        series_uid: its SeriesInstanceUID.
        study_uid: its StudyInstanceUID.
        path: its file.
    """

    sop_uid: str
    sop_class: str
    series_uid: str
    study_uid: str
    path: Path


@dataclass(frozen=True)
class Sending:
    """One object on its way to one peer.

    Attributes:
        result: the object.
        state: how far it is.
        asked_s: when the peer was asked to commit itself, as the clock gives it; None where it was not.
    """

    result: ResultObject
    state: SendState
    asked_s: float | None


class SendLedger:
    """The ledger in a database.

    Args:
        folder: of the node's data; files of results are relative to it.
        database: where the ledger is.
        queue: gets the jobs of sending.
        clock: the time in seconds.
    """

    def __init__(
        self, folder: Path, database: Database, queue: JobQueue, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._database = database
        self._queue = queue
        self._clock = clock

    def add(self, connection: sa.Connection, job: Job, results: Sequence[ResultObject], peers: Sequence[str]) -> None:
        """Register the results of an analysis, and queue their sending."""
        for one in results:
            place = one.path.relative_to(self._folder).as_posix()
            known = {"sop_uid": one.sop_uid, "sop_class": one.sop_class, "series_uid": one.series_uid}
            self._database.insert_new(
                connection, RESULTS, **known, study_uid=job.study_uid, digest=job.digest, file=place
            )
            for peer in peers:
                empty = {"state": SendState.PENDING, "transaction_uid": ""}
                self._database.insert_new(connection, SENDS, sop_uid=one.sop_uid, peer=peer, **empty)
        for peer in peers if results else ():
            self._queue.add(connection, JobKind.SEND, job.study_uid, peer=peer, digest=job.digest)

    def sendings(self, job: Job, states: Collection[SendState]) -> list[Sending]:
        """The objects of a job of sending that are in one of these states."""
        of_job = (RESULTS.c.study_uid == job.study_uid) & (RESULTS.c.digest == job.digest) & (SENDS.c.peer == job.peer)
        columns = (SENDS.c.state, SENDS.c.asked)
        query = sa.select(RESULTS, *columns).join(SENDS, SENDS.c.sop_uid == RESULTS.c.sop_uid).where(of_job)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(RESULTS.c.file)).mappings().all()
        return [
            Sending(_result_of(row, self._folder), SendState(row["state"]), row["asked"])
            for row in rows
            if row["state"] in states
        ]

    def arrived(self, study_uid: str, digest: str, peer: str) -> list[ResultObject]:
        """The results of an analysis that a peer has."""
        of_study = (RESULTS.c.study_uid == study_uid) & (RESULTS.c.digest == digest) & (SENDS.c.peer == peer)
        there = SENDS.c.state.in_((SendState.SENT, SendState.COMMITTED))
        query = sa.select(RESULTS).join(SENDS, SENDS.c.sop_uid == RESULTS.c.sop_uid).where(of_study & there)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(RESULTS.c.file)).mappings().all()
        return [_result_of(row, self._folder) for row in rows]

    def mark(self, result: ResultObject, peer: str, state: SendState) -> None:
        """Write down how far an object is."""
        same = (SENDS.c.sop_uid == result.sop_uid) & (SENDS.c.peer == peer)
        sent = {"sent": self._clock()} if state is SendState.SENT else {}
        with self._database.begin() as connection:
            connection.execute(sa.update(SENDS).where(same).values(state=state, **sent))

    def mark_asked(self, results: Sequence[ResultObject], peer: str, transaction_uid: str | None) -> None:
        """Write down that a peer was asked to commit itself, or that it did not answer (None)."""
        same = SENDS.c.sop_uid.in_([one.sop_uid for one in results]) & (SENDS.c.peer == peer)
        asked = None if transaction_uid is None else self._clock()
        with self._database.begin() as connection:
            values = {"asked": asked, "transaction_uid": transaction_uid or ""}
            connection.execute(sa.update(SENDS).where(same).values(**values))

    def answer_commitment(self, transaction_uid: str, kept: Collection[str], lost: Collection[str]) -> int:
        """Write down what a peer committed itself to; what it lacks is sent again. Returns how many rows changed."""
        in_transaction = (SENDS.c.transaction_uid == transaction_uid) & (SENDS.c.state == SendState.SENT)
        with self._database.begin() as connection:
            committed = sa.update(SENDS).where(in_transaction & SENDS.c.sop_uid.in_(list(kept)))
            changed = connection.execute(committed.values(state=SendState.COMMITTED)).rowcount
            missing = in_transaction & SENDS.c.sop_uid.in_(list(lost))
            of_result = (RESULTS.c.study_uid, RESULTS.c.digest, SENDS.c.peer)
            jobs = sa.select(*of_result).join(SENDS, SENDS.c.sop_uid == RESULTS.c.sop_uid).where(missing).distinct()
            for study_uid, digest, peer in connection.execute(jobs).all():
                self._queue.reopen(connection, JobKind.SEND, study_uid, peer=peer, digest=digest)
            again = sa.update(SENDS).where(missing).values(state=SendState.STARTED, asked=None, transaction_uid="")
            return int(changed + connection.execute(again).rowcount)

    def counts(self) -> dict[str, int]:
        """How many sendings there are, by state."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(SENDS.c.state, sa.func.count()).group_by(SENDS.c.state)).all()
        return {row[0]: row[1] for row in rows}


def _result_of(row: Mapping[Any, Any], folder: Path) -> ResultObject:
    names = ("sop_uid", "sop_class", "series_uid", "study_uid")
    return ResultObject(**{name: row[name] for name in names}, path=folder / row["file"])
