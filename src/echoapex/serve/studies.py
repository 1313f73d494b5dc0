"""The studies of a node: instances on disk and in the database, until they are analysed, sent and forgotten.

An instance is safe before its sender is told so: the file is written and synchronised, renamed, and then registered. A
crash between two of these steps leaves a file that the next start registers, or nothing, and then the sender still has
the instance.

Folders and logs name a study by a keyed digest of its UID. ``incoming/KEY/`` holds its instances, ``results/KEY/`` what
is sent, ``work/`` an analysis that is not finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from echoapex.io.deidentify import pseudonym
from echoapex.serve.database import INSTANCES, JOBS, STUDIES, Database
from echoapex.serve.instance_file import InstanceHeader, read_instance_header
from echoapex.serve.jobs import JobKind, JobQueue, JobState

_PARTIAL = ".partial"
_MEGABYTE = 1_000_000
_KEY_DIGITS = 16


class StudyState(StrEnum):
    """How far a study is."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    SENDING = "sending"
    DONE = "done"
    CLEARED = "cleared"
    """Done, and its files are deleted."""


class Taken(StrEnum):
    """What became of an instance that was offered."""

    NEW = "new"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    """No image: nothing to analyse. Results of EchoApex that an archive sends back are among them."""


class OutOfRoomError(OSError):
    """The disk is nearly full; the sender has to keep the instance."""


@dataclass(frozen=True)
class StudyInput:
    """What an analysis reads.

    Attributes:
        key: the study in logs and folder names.
        digest: of the instances.
        files: the instances.
    """

    key: str
    digest: str
    files: tuple[Path, ...]


class StudyStore:
    """Takes instances, and follows each study to its end.

    Args:
        folder: of the node's data.
        database: where studies are registered.
        queue: gets the jobs of studies that are complete.
        free_mb: how much room stays free on the disk.
        clock: the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        queue: JobQueue,
        *,
        free_mb: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._database = database
        self._queue = queue
        self._free_mb = free_mb
        self._clock = clock
        self._secret = database.secret()
        for name in ("incoming", "results", "work", "trash"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def key_of(self, study_uid: str) -> str:
        """What a study is called in logs and folder names."""
        return pseudonym(study_uid, self._secret)[:_KEY_DIGITS]

    def require_room(self, size: int = 0) -> None:
        """Refuse what would leave too little room.

        Raises:
            OutOfRoomError: it would.
        """
        if shutil.disk_usage(self.folder).free - size < self._free_mb * _MEGABYTE:
            raise OutOfRoomError(f"less than {self._free_mb:g} MB would be free on the disk")

    def take(self, content: bytes, header: InstanceHeader) -> Taken:
        """Keep an instance; when this returns, no crash loses it.

        Args:
            content: the whole DICOM file.
            header: what it says of itself.

        Raises:
            OutOfRoomError: too little room.
            OSError: it cannot be written.
            SQLAlchemyError: it cannot be registered; the file is removed again.
        """
        if not header.is_analysed:
            return Taken.IGNORED
        self.require_room(len(content))
        path = self._place(header)
        known = self._registered(header)
        if known is not None and path.is_file():
            return Taken.DUPLICATE
        write_safely(path, content)
        try:
            return Taken.NEW if self._register(header, content) else Taken.DUPLICATE
        except BaseException:
            if known is None and self._registered_or_unknown(header) is None:
                path.unlink(missing_ok=True)
            raise

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Whether an instance is registered."""
        same = (INSTANCES.c.study_uid == study_uid) & (INSTANCES.c.sop_uid == sop_uid)
        with self._database.read() as connection:
            return connection.execute(sa.select(INSTANCES.c.sop_uid).where(same)).first() is not None

    def settle(self, settle_s: float) -> int:
        """Queue the analysis of studies to which nothing was added for so long; returns how many."""
        quiet = (STUDIES.c.state == StudyState.RECEIVING) & (STUDIES.c.last_received <= self._clock() - settle_s)
        with self._database.read() as connection:
            due = connection.execute(sa.select(STUDIES.c.study_uid).where(quiet)).scalars().all()
        settled = 0
        for study_uid in due:
            with self._database.begin() as connection:
                digest = self._digest(connection, study_uid)
                same = (STUDIES.c.study_uid == study_uid) & quiet
                change = sa.update(STUDIES).where(same).values(state=StudyState.QUEUED, digest=digest)
                if connection.execute(change).rowcount != 1:
                    continue
                settled += 1
                if not self._queue.add(connection, JobKind.ANALYZE, study_uid, digest=digest):
                    self.advance(connection, study_uid)  # the same instances were analysed before
        return settled

    def input_of(self, study_uid: str) -> StudyInput:
        """The instances of a study as they are now."""
        with self._database.read() as connection:
            query = sa.select(INSTANCES.c.sop_uid).where(INSTANCES.c.study_uid == study_uid).order_by("sop_uid")
            names = connection.execute(query).scalars().all()
            digest = self._digest(connection, study_uid)
        key = self.key_of(study_uid)
        return StudyInput(key, digest, tuple(self._instance_path(key, name) for name in names))

    def is_current(self, connection: sa.Connection, study_uid: str, digest: str) -> bool:
        """Whether a study still has exactly these instances; until the transaction ends, it gets no others."""
        query = sa.select(STUDIES.c.state).where(STUDIES.c.study_uid == study_uid).with_for_update()
        state = connection.execute(query).scalar()
        return state != StudyState.RECEIVING and self._digest(connection, study_uid) == digest

    def advance(self, connection: sa.Connection, study_uid: str) -> None:
        """Note whether all is sent; called in the transaction that ends a job of the study."""
        query = sa.select(STUDIES.c.state).where(STUDIES.c.study_uid == study_uid)
        if connection.execute(query).scalar() not in (StudyState.QUEUED, StudyState.SENDING):
            return  # instances have come in the meantime, or it never had any
        of_study = (JOBS.c.study_uid == study_uid) & JOBS.c.kind.in_((JobKind.ANALYZE, JobKind.SEND, JobKind.COMMIT))
        left = (
            connection.execute(sa.select(JOBS.c.kind).where(of_study & (JOBS.c.state != JobState.DONE))).scalars().all()
        )
        if JobKind.ANALYZE in left:
            return
        state = StudyState.SENDING if left else StudyState.DONE
        change = sa.update(STUDIES).where(STUDIES.c.study_uid == study_uid)
        connection.execute(change.values(state=state, finished=None if left else self._clock()))

    def clear_finished(self, keep_s: float) -> int:
        """Delete the files of studies that were finished so long ago; their ledger stays. Returns how many."""
        old = (STUDIES.c.state == StudyState.DONE) & (STUDIES.c.finished <= self._clock() - keep_s)
        with self._database.read() as connection:
            due = connection.execute(sa.select(STUDIES.c.study_uid).where(old)).scalars().all()
        for study_uid in due:
            key = self.key_of(study_uid)
            with self._database.begin() as connection:
                change = sa.update(STUDIES).where((STUDIES.c.study_uid == study_uid) & old)
                if connection.execute(change.values(state=StudyState.CLEARED)).rowcount != 1:
                    continue
                connection.execute(sa.delete(INSTANCES).where(INSTANCES.c.study_uid == study_uid))
                self._discard(key)
        self.empty_trash()
        return len(due)

    def _discard(self, key: str) -> None:
        """Move the files of a study out of the way; in the transaction that forgets them."""
        for room in ("incoming", "results"):
            place = self.folder / room / key
            if place.exists():
                place.rename(self.folder / "trash" / f"{room}-{key}-{os.getpid()}-{time.monotonic_ns()}")

    def empty_trash(self) -> None:
        """Delete what was moved out of the way."""
        for place in (self.folder / "trash").iterdir():
            shutil.rmtree(place, ignore_errors=True)

    def recover(self) -> int:
        """Register files that a crash left without a row, and delete halves of files; returns how many were found."""
        self.empty_trash()
        found = 0
        for path in (self.folder / "incoming").glob(f"*/*{_PARTIAL}"):
            path.unlink(missing_ok=True)
        for path in (self.folder / "incoming").glob("*/*.dcm"):
            content = path.read_bytes()
            header = read_instance_header(content)
            if header is not None and path == self._place(header) and self._registered(header) is None:
                found += self._register(header, content)
        return found

    def counts(self) -> dict[str, int]:
        """How many studies there are, by state."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(STUDIES.c.state, sa.func.count()).group_by(STUDIES.c.state)).all()
        return {row[0]: row[1] for row in rows}

    def _place(self, header: InstanceHeader) -> Path:
        return self._instance_path(self.key_of(header.study_uid), header.sop_uid)

    def _instance_path(self, key: str, sop_uid: str) -> Path:
        return self.folder / "incoming" / key / f"{pseudonym(sop_uid, self._secret)}.dcm"

    def _registered(self, header: InstanceHeader) -> str | None:
        same = (INSTANCES.c.study_uid == header.study_uid) & (INSTANCES.c.sop_uid == header.sop_uid)
        with self._database.read() as connection:
            return connection.execute(sa.select(INSTANCES.c.sha256).where(same)).scalar()

    def _registered_or_unknown(self, header: InstanceHeader) -> str | None:
        """As :meth:`_registered`; an unreachable database counts as registered, so that no file is deleted."""
        try:
            return self._registered(header)
        except (sa.exc.SQLAlchemyError, OSError):
            return "unknown"

    def _register(self, header: InstanceHeader, content: bytes) -> bool:
        now = self._clock()
        path = self._place(header)
        with self._database.begin() as connection:
            state = {"state": StudyState.RECEIVING, "digest": "", "first_received": now, "last_received": now}
            key = self.key_of(header.study_uid)
            self._database.insert_new(connection, STUDIES, study_uid=header.study_uid, key=key, **state)
            of_study = STUDIES.c.study_uid == header.study_uid
            connection.execute(sa.select(STUDIES.c.key).where(of_study).with_for_update())
            if not path.is_file():  # the study was cleared since the file was written
                write_safely(path, content)
            known = {"study_uid": header.study_uid, "sop_uid": header.sop_uid, "sha256": header.sha256}
            new = self._database.insert_new(connection, INSTANCES, **known, bytes=len(content))
            if new:
                values = {"state": StudyState.RECEIVING, "last_received": now, "finished": None}
                connection.execute(sa.update(STUDIES).where(of_study).values(**values))
        return new

    def _digest(self, connection: sa.Connection, study_uid: str) -> str:
        query = sa.select(INSTANCES.c.sop_uid, INSTANCES.c.sha256).where(INSTANCES.c.study_uid == study_uid)
        rows = sorted(tuple(row) for row in connection.execute(query))
        return hashlib.sha256("\n".join(" ".join(row) for row in rows).encode()).hexdigest()


def write_safely(path: Path, content: bytes) -> None:
    """Write a file that is complete and on the disk when this returns, or not there; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _synchronise_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _synchronise_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
