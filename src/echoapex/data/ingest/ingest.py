"""Archive in, frame store out: find, hand to an engine, commit in the order of the plan, tidy up.

Because reports are committed in the order of the plan, the rows of a store do not depend on how many workers there were
or which was faster, and an interrupted ingest holds the beginning of what the whole one would hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from echoapex.data.ingest.archive_key import ArchiveKey, read_or_create_key
from echoapex.data.ingest.engine import Engine, LostUnit, Work
from echoapex.data.ingest.ledger import write_ledger, write_paths
from echoapex.data.ingest.plan import Names, SourceFile, Unit, UnreadableFile, expand_lists, find_sources, plan_units
from echoapex.data.ingest.rules import IngestRules
from echoapex.data.ingest.run_lock import locked
from echoapex.data.ingest.summary import IngestSummary, summarise, write_manifest
from echoapex.data.ingest.unit_work import INGESTED, REJECTED, IngestJob, UnitReport, ingest_unit, rejected
from echoapex.data.lance_library import StoreError
from echoapex.data.store import MANIFEST_FILE
from echoapex.data.store_place import StorePlace
from echoapex.data.store_writer import StoreIdentity, StoreWriter

COMMIT_FRAMES = 4096
COMMIT_SECONDS = 15.0
WORKER_DIED = "each worker that read it died"
WORKER_REMEDY = "give the workers more memory and run the same command again, or leave this file out"


class Observer(Protocol):
    """Whoever wants to know how far an ingest is."""

    def found(self, files: int) -> None:
        """So many files were found up to now."""

    def finished(self, files: int, frames: int) -> None:
        """So many files more are done, and so many frames more are kept."""


class SilentObserver:
    """Says nothing."""

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


def ingest(plan: IngestPlan, engine: Engine, observer: Observer | None = None) -> IngestSummary:
    """Ingest an archive; the same call again completes what was interrupted and tries rejected files once more.

    Args:
        plan: what and how.
        engine: who does the work.
        observer: is told of progress.

    Raises:
        StoreError: nothing was given, the store was made by other rules, or it cannot be written to. What was
            committed by then is kept.
    """
    place = StorePlace(plan.out)
    paths = expand_lists(plan.sources)
    _refuse_nonsense(paths, place, plan.key)
    key, _ = read_or_create_key(plan.key)
    with locked(place):
        place.read(MANIFEST_FILE)  # a URL that cannot be reached is better noticed now than at the end
        writer = StoreWriter(place, StoreIdentity(plan.rules.model_dump(), key.check))
        run = _Run(plan, key, writer, observer or SilentObserver())
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
    """One ingest under way."""

    def __init__(self, plan: IngestPlan, key: ArchiveKey, writer: StoreWriter, observer: Observer) -> None:
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
        """Everything that is not done yet; files whose workers died are tried once more by themselves."""
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
