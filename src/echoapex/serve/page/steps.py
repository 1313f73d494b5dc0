"""What can be undone and done again, study by study; it survives a restart."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import sqlalchemy as sa

from echoapex.serve.database import Database
from echoapex.serve.page.tables import PAGE_STEPS

Change = tuple[bytes, bytes]
"""The whole state of the target before and after; empty where there was nothing."""


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        id: its number.
        kind: what was changed: a clip, a value, a caliper.
        target: which one.
        what: in words.
        before: state before.
        after: state after.
    """

    id: int
    kind: str
    target: str
    what: str
    before: bytes
    after: bytes


class Steps:
    """The steps in the database.

    Args:
        database: where they are kept.
        most: how many of a study are kept.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most

    def push(self, study: str, place: tuple[str, str], what: str, change: Change) -> None:
        """Add a change of ``place`` (kind and target); what was undone before can no longer be done again."""
        if change[0] == change[1]:
            return
        before, after = (zlib.compress(part, 1) for part in change)
        of_study = PAGE_STEPS.c.study == study
        values = {"study": study, "kind": place[0], "target": place[1], "what": what[:128], "undone": False}
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_STEPS).where(of_study & PAGE_STEPS.c.undone))
            connection.execute(sa.insert(PAGE_STEPS).values(**values, before=before, after=after))
            beyond = sa.select(PAGE_STEPS.c.id).where(of_study).order_by(PAGE_STEPS.c.id.desc()).offset(self._most)
            connection.execute(sa.delete(PAGE_STEPS).where(PAGE_STEPS.c.id.in_(beyond)))

    def last(self, study: str, *, undone: bool) -> Step | None:
        """The step that is undone next, or (``undone``) done again next."""
        order = PAGE_STEPS.c.id.asc() if undone else PAGE_STEPS.c.id.desc()
        which = (PAGE_STEPS.c.study == study) & (PAGE_STEPS.c.undone == undone)
        with self._database.read() as connection:
            row = connection.execute(sa.select(PAGE_STEPS).where(which).order_by(order).limit(1)).mappings().first()
        if row is None:
            return None
        contents = {name: zlib.decompress(row[name]) for name in ("before", "after")}
        return Step(row["id"], row["kind"], row["target"], row["what"], **contents)

    def mark(self, step: Step, *, undone: bool) -> None:
        """Note that a step was undone, or done again."""
        with self._database.begin() as connection:
            connection.execute(sa.update(PAGE_STEPS).where(PAGE_STEPS.c.id == step.id).values(undone=undone))

    def possible(self, study: str) -> tuple[bool, bool]:
        """Whether something can be undone, and whether something can be done again."""
        query = sa.select(PAGE_STEPS.c.undone).where(PAGE_STEPS.c.study == study).distinct()
        with self._database.read() as connection:
            found = set(connection.execute(query).scalars())
        return False in found, True in found
