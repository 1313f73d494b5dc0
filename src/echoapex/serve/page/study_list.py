"""The list of studies in the database: filtered, sorted and counted by SQL, so that thousands stay quick."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from echoapex.serve.database import Database
from echoapex.serve.page.schemas import PageState, StudyRow, StudyRows
from echoapex.serve.page.security import PageError
from echoapex.serve.page.tables import (
    PAGE_AUDIT,
    PAGE_CALIPERS,
    PAGE_DECISIONS,
    PAGE_STEPS,
    PAGE_STUDIES,
    PAGE_TAGS,
)

_KEY_BYTES = 8
_LIKE_ESCAPE = "\\"
SortKey = Literal["received", "name", "ef", "quality"]
_ORDER: dict[str, tuple[sa.ColumnElement[Any], ...]] = {
    "received": (PAGE_STUDIES.c.received.desc(), PAGE_STUDIES.c.number.desc()),
    "name": (PAGE_STUDIES.c.label.asc(), PAGE_STUDIES.c.number.asc()),
    "ef": (PAGE_STUDIES.c.ef_percent.asc().nulls_last(), PAGE_STUDIES.c.number.asc()),
    "quality": (PAGE_STUDIES.c.quality.asc().nulls_last(), PAGE_STUDIES.c.number.asc()),
}
"""The newest first; by EF and quality the lowest first, since these want to be looked at."""


@dataclass(frozen=True)
class StudyFilter:
    """Which studies are listed; empty texts match all."""

    query: str = ""
    view: str = ""
    flag: str = ""
    state: str = ""


@dataclass(frozen=True)
class StudyPlaces:
    """Where a study lies; for the server alone.

    Attributes:
        inputs: files or folders that are analysed.
        results: folder of an analysis that was made before; None where the page analyses it itself.
        part: which study of these results; empty for the only one.
        sealed: the sign-off as JSON; empty where there is none.
        revision: counts the changes.
    """

    inputs: tuple[Path, ...]
    results: Path | None
    part: str
    sealed: str
    revision: int


class StudyList:
    """The studies of the page.

    Args:
        database: where they are.
        changed: is called with a row after each change.
    """

    def __init__(self, database: Database, changed: Callable[[StudyRow], None]) -> None:
        self._database = database
        self._changed = changed
        self._numbering = threading.Lock()

    def add(
        self,
        inputs: Sequence[Path],
        *,
        origin: str = "",
        results: Path | None = None,
        part: str = "",
        key: str = "",
    ) -> str | None:
        """Add a study, which then waits for its analysis; returns its key, or None where it is known.

        Args:
            inputs: files or folders.
            origin: by which it is known when it comes again; empty for an upload, which is always new.
            results: folder of its analysis.
            part: its pseudonym in these results.
            key: its key; a new one by default.
        """
        key = key or secrets.token_hex(_KEY_BYTES)
        empty = dict.fromkeys(("ef_method", "lvh", "error", "note", "sealed"), "")
        counts = {"progress": 0.0, "clips": 0, "clips_done": 0, "revision": 0}
        with self._numbering, self._database.begin() as connection:
            number = 1 + (connection.execute(sa.select(sa.func.max(PAGE_STUDIES.c.number))).scalar() or 0)
            known = {"origin": origin or f"upload:{key}", "places": json.dumps([str(path) for path in inputs])}
            place = {"results": str(results or ""), "part": part, "number": number, "label": f"Study {number}"}
            state = {"state": PageState.QUEUED, "received": time.time(), "reviewed": False}
            values = {**empty, **counts, **known, **place, **state}
            if not self._database.insert_new(connection, PAGE_STUDIES, study=key, **values):
                return None
        self.announce(key)
        return key

    def knows(self, origin: str) -> bool:
        """Whether a study of this origin is in the list."""
        with self._database.read() as connection:
            query = sa.select(PAGE_STUDIES.c.study).where(PAGE_STUDIES.c.origin == origin)
            return connection.execute(query).first() is not None

    def rows(self, wanted: StudyFilter, sort: SortKey, offset: int, limit: int) -> StudyRows:
        """A page of the studies that match."""
        matches = _condition(wanted)
        query = sa.select(PAGE_STUDIES).where(matches).order_by(*_ORDER[sort]).offset(offset).limit(limit)
        with self._database.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(PAGE_STUDIES).where(matches)).scalar_one()
            found = connection.execute(query).mappings().all()
            tags = _tags_of(connection, [row["study"] for row in found])
        return StudyRows(total=total, studies=[_row(row, tags.get(row["study"], {})) for row in found])

    def row(self, study: str) -> StudyRow:
        """One study.

        Raises:
            PageError: there is no such study.
        """
        with self._database.read() as connection:
            found = self._found(connection, study)
            return _row(found, _tags_of(connection, [study]).get(study, {}))

    def places(self, study: str) -> StudyPlaces:
        """Where a study lies.

        Raises:
            PageError: there is no such study.
        """
        with self._database.read() as connection:
            row = self._found(connection, study)
        inputs = tuple(Path(place) for place in json.loads(row["places"]))
        results = Path(row["results"]) if row["results"] else None
        return StudyPlaces(inputs, results, row["part"], row["sealed"], row["revision"])

    def note(self, study: str) -> str:
        """The reader's note."""
        with self._database.read() as connection:
            return str(self._found(connection, study)["note"])

    def update(self, study: str, **values: Any) -> None:
        """Change columns of a study.

        Raises:
            PageError: there is no such study.
        """
        with self._database.begin() as connection:
            change = sa.update(PAGE_STUDIES).where(PAGE_STUDIES.c.study == study)
            if connection.execute(change.values(**values)).rowcount != 1:
                raise _unknown()
        self.announce(study)

    def tag(self, study: str, views: Mapping[str, int], flags: Sequence[str]) -> None:
        """Replace the views and flags of a study; the next change of its row tells of them."""
        rows = [{"kind": "view", "name": name, "study": study, "count": count} for name, count in views.items()]
        rows += [{"kind": "flag", "name": name, "study": study, "count": 1} for name in dict.fromkeys(flags)]
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_TAGS).where(PAGE_TAGS.c.study == study))
            if rows:
                connection.execute(sa.insert(PAGE_TAGS), rows)

    def remove(self, study: str) -> None:
        """Forget a study with its decisions; the audit trail stays.

        Raises:
            PageError: there is no such study.
        """
        with self._database.begin() as connection:
            self._found(connection, study)
            for table in (PAGE_TAGS, PAGE_DECISIONS, PAGE_CALIPERS, PAGE_STEPS, PAGE_STUDIES):
                connection.execute(sa.delete(table).where(table.c.study == study))

    def shares(self, study: str, folder: Path) -> bool:
        """Whether another study has its results in the folder of a study, which is called by its key or that of it."""
        same = (PAGE_STUDIES.c.results == str(folder)) | (PAGE_STUDIES.c.study == folder.name)
        with self._database.read() as connection:
            query = sa.select(PAGE_STUDIES.c.study).where(same & (PAGE_STUDIES.c.study != study))
            return connection.execute(query).first() is not None

    def next_queued(self) -> str | None:
        """The study that waits longest."""
        query = sa.select(PAGE_STUDIES.c.study).where(PAGE_STUDIES.c.state == PageState.QUEUED)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(PAGE_STUDIES.c.received, PAGE_STUDIES.c.number).limit(1))
            return found.scalar()

    def requeue_interrupted(self) -> int:
        """Queue again what was being analysed when the server ended; returns how many."""
        was = PAGE_STUDIES.c.state == PageState.ANALYSING
        with self._database.begin() as connection:
            return int(connection.execute(sa.update(PAGE_STUDIES).where(was).values(state=PageState.QUEUED)).rowcount)

    def announce(self, study: str) -> None:
        """Tell those who watch how a study is now."""
        self._changed(self.row(study))

    def audit(self, study: str) -> list[dict[str, Any]]:
        """The changes of a study, the oldest first."""
        query = sa.select(PAGE_AUDIT).where(PAGE_AUDIT.c.study == study).order_by(PAGE_AUDIT.c.id)
        with self._database.read() as connection:
            self._found(connection, study)
            return [dict(row) for row in connection.execute(query).mappings()]

    def write_down(
        self, study: str, who: str, what: str, place: str = "", change: tuple[Any, Any] = (None, None)
    ) -> None:
        """Add a change to the audit trail, with the state before and after; nothing there is ever changed."""
        before, after = (json.dumps(part, default=str) for part in change)
        entry = {"time": time.time(), "study": study, "who": who, "what": what, "place": place}
        with self._database.begin() as connection:
            connection.execute(sa.insert(PAGE_AUDIT).values(**entry, before=before, after=after))

    def _found(self, connection: sa.Connection, study: str) -> sa.RowMapping:
        row = connection.execute(sa.select(PAGE_STUDIES).where(PAGE_STUDIES.c.study == study)).mappings().first()
        if row is None:
            raise _unknown()
        return row


def _unknown() -> PageError:
    return PageError("there is no such study; it may have been deleted, so go back to the list", 404)


def _condition(wanted: StudyFilter) -> sa.ColumnElement[bool]:
    parts: list[sa.ColumnElement[bool]] = [sa.true()]
    if wanted.query:
        text = wanted.query
        for special in (_LIKE_ESCAPE, "%", "_"):
            text = text.replace(special, _LIKE_ESCAPE + special)
        parts.append(PAGE_STUDIES.c.label.ilike(f"%{text}%", escape=_LIKE_ESCAPE))
    if wanted.state:
        parts.append(PAGE_STUDIES.c.state == wanted.state)
    for kind, name in (("view", wanted.view), ("flag", wanted.flag)):
        if name:
            tagged = sa.select(PAGE_TAGS.c.study).where((PAGE_TAGS.c.kind == kind) & (PAGE_TAGS.c.name == name))
            parts.append(PAGE_STUDIES.c.study.in_(tagged))
    return sa.and_(*parts)


def _tags_of(connection: sa.Connection, studies: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Views and flags with their counts, by study."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    if not studies:
        return found
    query = sa.select(PAGE_TAGS).where(PAGE_TAGS.c.study.in_(studies)).order_by(PAGE_TAGS.c.name)
    for row in connection.execute(query).mappings():
        found.setdefault(row["study"], {}).setdefault(row["kind"], {})[row["name"]] = row["count"]
    return found


def _row(row: sa.RowMapping, tags: Mapping[str, Mapping[str, int]]) -> StudyRow:
    shared = ("study", "label", "received", "progress", "clips", "clips_done", "quality", "ef_percent", "ef_method")
    return StudyRow(
        **{name: row[name] for name in shared},
        state=PageState(row["state"]),
        error=row["error"],
        reviewed=row["reviewed"],
        views=dict(tags.get("view", {})),
        flags=list(tags.get("flag", {})),
        lvh=row["lvh"] or None,
        signed_by=json.loads(row["sealed"])["by"] if row["sealed"] else "",
    )
