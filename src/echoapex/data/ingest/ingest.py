"""Ingests an archive into a frame store: find the clips, give them to an engine, commit in the order of the plan.

Because reports are committed in the order of the plan, the rows of a store do not depend on the number or speed of the
workers, and an interrupted ingest holds the beginning of what the whole one would hold.

Only one ingest may write to a store at a time; a lock ensures it on file systems that support locks. ``manifest.json``
says what the store holds, without paths and identifiers.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from echoapex.data.ingest.ledger import write_ledger, write_paths
from echoapex.data.ingest.plan import (
    ArchiveKey,
    IngestRules,
    Names,
    SourceFile,
    Unit,
    UnreadableFile,
    expand_lists,
    find_sources,
    plan_units,
    read_or_create_key,
)
from echoapex.data.ingest.unit_work import (
    INGESTED,
    REJECTED,
    SET_ASIDE,
    IngestJob,
    UnitReport,
    Work,
    ingest_unit,
    rejected,
)
from echoapex.data.stores.frame_store import FRAME_COLUMNS, MANIFEST_FILE
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter
from echoapex.data.stores.place import StoreError, StorePlace
from echoapex.io.local_engine import Engine, LostUnit
from echoapex.version import __version__

LOCK_FILE = ".ingest.lock"
MANIFEST_VERSION = "1.0"
COMMIT_FRAMES = 4096
COMMIT_SECONDS = 15.0
WORKER_DIED = "each worker that read it died"
WORKER_REMEDY = "give the workers more memory and run the same command again, or leave this file out"


@contextmanager
def locked(place: StorePlace) -> Iterator[None]:
    """Lock a store; the operating system releases the lock when this process ends for any reason.

    Object stores and Windows have no such lock; there is no protection there.

    Raises:
        StoreError: another ingest holds it, or its folder cannot be made.
    """
    if place.folder is None or os.name != "posix":
        yield
        return
    fcntl = importlib.import_module("fcntl")
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(place.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"the store cannot be made here ({error.strerror}); choose another --out") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                "another ingest into this store is running; wait for it, or choose another --out"
            ) from error
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest found and did.

    Attributes:
        ingested: clips of the given sources that are in the store, those done before included.
        set_aside: clips that show no 2D echo, or that could not be made anonymous.
        rejected: files that could not be read.
        done_before: clips and set-aside files that an earlier ingest did.
        frames_kept: frames of this ingest that were no near-duplicates.
        near_duplicates: frames of this ingest that were.
        equal_frames: frames that were dropped since an earlier one of the store has the very same pixels.
        frames_stored: frames in the store now.
    """

    ingested: int
    set_aside: int
    rejected: int
    done_before: int
    frames_kept: int
    near_duplicates: int
    equal_frames: int
    frames_stored: int


def summarise(
    met: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], stored: Sequence[Mapping[str, Any]], frames: int
) -> IngestSummary:
    """Sum up.

    Args:
        met: newest records of the files that this ingest met.
        new: those of them that it worked on.
        stored: newest records of all files of the store.
        frames: frames in the store now.
    """
    outcomes = Counter(record["outcome"] for record in met)
    kept = sum(record["frames_kept"] for record in new)
    return IngestSummary(
        ingested=outcomes[INGESTED],
        set_aside=outcomes[SET_ASIDE],
        rejected=outcomes[REJECTED],
        done_before=len(met) - len(new),
        frames_kept=kept,
        near_duplicates=sum(record["frames_sampled"] for record in new) - kept,
        equal_frames=sum(record["frames_kept"] for record in stored) - frames,
        frames_stored=frames,
    )


def write_manifest(place: StorePlace, rules: IngestRules, records: Sequence[Mapping[str, Any]], frames: int) -> None:
    """Write ``manifest.json`` for the whole store; the files table is the manifest clip by clip."""
    clips = [record for record in records if record["outcome"] == INGESTED]
    kept = sum(record["frames_kept"] for record in clips)
    sampled = sum(record["frames_sampled"] for record in clips)
    content = {
        "manifest_version": MANIFEST_VERSION,
        "echoapex_version": __version__,
        "rules": rules.model_dump(),
        "frames": frames,
        "frames_dropped": {"near_duplicates": sampled - kept, "equal_to_an_earlier_frame": kept - frames},
        "files": dict(sorted(Counter(record["outcome"] for record in records).items())),
        "clips": {
            name: dict(sorted(Counter(record[name] or "unknown" for record in clips).items()))
            for name in ("content", "vendor", "probe", "split")
        },
        "clips_calibrated": sum(record["row_mm"] is not None for record in clips),
        "studies": len({record["study"] for record in clips}),
        "patients": {
            split: len({record["patient"] for record in clips if record["split"] == split})
            for split in ("train", "val")
        },
        "columns": FRAME_COLUMNS,
    }
    place.write(MANIFEST_FILE, (json.dumps(content, indent=1) + "\n").encode())


class IngestObserver(Protocol):
    """Receives the progress of an ingest."""

    def found(self, files: int) -> None:
        """The number of files found so far."""

    def finished(self, files: int, frames: int) -> None:
        """Numbers of further finished files and kept frames."""


class SilentIngestObserver:
    """Ignores the progress."""

    def found(self, files: int) -> None:
        """Nothing."""

    def finished(self, files: int, frames: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class IngestPlan:
    """What to ingest, and how.

    Attributes:
        sources: folders, DICOMDIRs, zip archives, files, and ``@list.txt`` with one of these a line.
        out: folder or URL of the store.
        key: file of the secret key; made when it is missing.
        rules: how clips become frames.
        names: what the ledger calls files: their keyed digest, or their path as it is.
    """

    sources: tuple[str | Path, ...]
    out: Path | str
    key: Path
    rules: IngestRules = field(default_factory=IngestRules)
    names: Names = "digest"


def ingest(plan: IngestPlan, engine: Engine, observer: IngestObserver | None = None) -> IngestSummary:
    """Ingest an archive; the same call again completes an interrupted ingest and retries rejected files.

    Args:
        plan: what and how.
        engine: who does the work.
        observer: is told of progress.

    Raises:
        StoreError: nothing was given, the store was made by other rules, or it cannot be written to. What was
            committed by then is kept.
        EngineError: the workers cannot be reached or started.
    """
    place = StorePlace(plan.out)
    paths = expand_lists(plan.sources)
    _refuse_nonsense(paths, place, plan.key)
    key, _ = read_or_create_key(plan.key)
    with locked(place):
        place.read(MANIFEST_FILE)  # fail now, not at the end, if a URL cannot be reached
        writer = StoreWriter(place, StoreIdentity(plan.rules.model_dump(), key.check))
        run = _Run(plan, key, writer, observer or SilentIngestObserver())
        work = partial(ingest_unit, IngestJob(plan.rules, key.secret, str(place)))
        try:
            run.work_through(engine, work, paths)
        finally:
            write_paths(plan.key, run.paths_to_tell())
        writer.finish()
        records, frames = writer.records(), writer.frame_count()
        write_ledger(place, records)
        write_manifest(place, plan.rules, records, frames)
        return run.summary(records, frames)


class _Run:
    """The state of one running ingest."""

    def __init__(self, plan: IngestPlan, key: ArchiveKey, writer: StoreWriter, observer: IngestObserver) -> None:
        self._plan = plan
        self._key = key
        self._writer = writer
        self._observer = observer
        known = writer.records("file", "stamp", "outcome")
        self._done = {record["file"]: record["stamp"] for record in known if record["outcome"] != REJECTED}
        self._paths: dict[str, str] = {}
        self._met: dict[str, Mapping[str, Any] | None] = {}
        self._fragments: list[str] = []
        self._records: list[Mapping[str, Any]] = []
        self._new: list[Mapping[str, Any]] = []
        self._last_commit_s = time.monotonic()

    def work_through(self, engine: Engine, work: Work, paths: Sequence[Path]) -> None:
        """Process everything that is not done yet; files whose workers died are retried one by one."""
        lost: list[SourceFile] = []
        for unit, outcome in engine.run(work, plan_units(self._to_do(paths))):
            if isinstance(outcome, LostUnit):
                lost += unit.files
            else:
                self._take(outcome)
        alone = (Unit(number, (file,)) for number, file in enumerate(lost))
        for unit, outcome in engine.run(work, alone) if lost else ():
            if isinstance(outcome, LostUnit):
                self._take(UnitReport((), (rejected(unit.files[0], WORKER_DIED, WORKER_REMEDY),)))
            else:
                self._take(outcome)
        self._commit()

    def summary(self, records: Sequence[Mapping[str, Any]], frames: int) -> IngestSummary:
        """What was done, given the newest records of the store."""
        newest = {record["file"]: record for record in records}
        met = [newest[file] for file in self._met if file in newest]
        return summarise(met, self._new, records, frames)

    def paths_to_tell(self) -> dict[str, str]:
        """The paths of the files that the ledger names, by these names."""
        if self._plan.names != "digest":
            return {}
        return {record["name"]: self._paths[record["file"]] for record in self._new if record["outcome"] != INGESTED}

    def _to_do(self, paths: Sequence[Path]) -> Iterator[SourceFile]:
        for found in find_sources(paths, self._key, self._plan.names):
            if found.file in self._met:
                continue
            self._met[found.file] = None
            self._observer.found(len(self._met))
            if isinstance(found, UnreadableFile):
                self._paths[found.file] = found.path
                self._note([rejected(found, found.reason, found.remedy)])
            elif self._done.get(found.file) == found.stamp:
                self._observer.finished(1, 0)
            else:
                self._paths[found.file] = found.path
                yield found

    def _take(self, report: UnitReport) -> None:
        self._fragments += report.fragments
        self._note(report.records)
        waiting = sum(record["frames_kept"] for record in self._records)
        if waiting >= COMMIT_FRAMES or time.monotonic() - self._last_commit_s > COMMIT_SECONDS:
            self._commit()

    def _note(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self._records.append(record)
            self._new.append(record)
            self._observer.finished(1, record["frames_kept"])
            if record["outcome"] == INGESTED:
                self._paths.pop(record["file"], None)

    def _commit(self) -> None:
        self._writer.commit(self._fragments, self._records)
        self._fragments, self._records = [], []
        self._last_commit_s = time.monotonic()


def _refuse_nonsense(paths: Sequence[Path], place: StorePlace, key: Path) -> None:
    if not paths:
        raise StoreError("nothing was given to ingest; give a folder, a zip archive, a file or @list.txt")
    if place.folder is None:
        return
    folder = place.folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise StoreError("--out is a file, a store needs a folder; choose another --out")
    for path in paths:
        source = path.resolve()
        if source.is_dir() and (source == folder or source in folder.parents):
            raise StoreError("the store would lie inside a source and be searched itself; choose another --out")
    if folder in key.absolute().resolve().parents:
        raise StoreError("the key would lie inside the store, where it must not be; choose another --key")
