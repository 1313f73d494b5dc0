"""Distances that a person measures on a frame; their length in mm comes from the calibration of the clip."""

from __future__ import annotations

import secrets

import numpy as np
import sqlalchemy as sa

from echoapex.domain import ClipReport, Spacing
from echoapex.serve.database import Database
from echoapex.serve.page.correction_schemas import Caliper, CaliperChange
from echoapex.serve.page.reviews import Reviews
from echoapex.serve.page.security import PageError
from echoapex.serve.page.steps import Steps
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.tables import PAGE_CALIPERS

CALIPER_STEP = "caliper"
_MOST = 200
_BETWEEN = "/"


class CaliperBox:
    """The calipers of all clips.

    Args:
        database: where they are kept.
        reviews: who may change.
        studies: the list.
        steps: what can be undone.
    """

    def __init__(self, database: Database, reviews: Reviews, studies: StudyList, steps: Steps) -> None:
        self._database = database
        self._reviews = reviews
        self._studies = studies
        self._steps = steps

    def of_clip(self, study: str, report: ClipReport) -> list[Caliper]:
        """The calipers of a clip, with their lengths."""
        same = (PAGE_CALIPERS.c.study == study) & (PAGE_CALIPERS.c.clip == report.clip_id)
        query = sa.select(PAGE_CALIPERS.c.content).where(same).order_by(PAGE_CALIPERS.c.caliper)
        with self._database.read() as connection:
            rows = connection.execute(query).scalars().all()
        return [_measured(CaliperChange.model_validate_json(row), report) for row in rows]

    def put(self, study: str, report: ClipReport, change: CaliperChange, who: str) -> Caliper:
        """Add a caliper, or move one.

        Raises:
            PageError: it names a frame that there is not, there are too many, or the study is signed off.
        """
        if change.frame >= report.frames:
            raise PageError(f"frame {change.frame} is not in the clip; it has the frames 0 to {report.frames - 1}", 422)
        caliper = change.model_copy(update={"id": change.id or secrets.token_hex(4)})
        with self._reviews.changing(study):
            if len(self.of_clip(study, report)) >= _MOST:
                raise PageError(f"a clip may have {_MOST} calipers; delete one", 409)
            content = caliper.model_dump_json(by_alias=True).encode()
            self._exchange(study, report.clip_id + _BETWEEN + caliper.id, content, f"caliper {caliper.name}", who)
        return _measured(caliper, report)

    def delete(self, study: str, clip: str, caliper: str, who: str) -> None:
        """Delete a caliper.

        Raises:
            PageError: there is none, or the study is signed off.
        """
        with self._reviews.changing(study):
            target = clip + _BETWEEN + caliper
            if not self._content(study, target):
                raise PageError("the clip has no such caliper; load the study again", 404)
            self._exchange(study, target, b"", "caliper deleted", who)

    def restore(self, study: str, target: str, content: bytes) -> None:
        """Put a caliper in its place; empty for none."""
        clip, _, caliper = target.partition(_BETWEEN)
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_CALIPERS).where(_same(study, target)))
            if content:
                row = {"study": study, "clip": clip, "caliper": caliper, "content": content.decode()}
                connection.execute(sa.insert(PAGE_CALIPERS).values(**row))

    def _exchange(self, study: str, target: str, content: bytes, what: str, who: str) -> None:
        before = self._content(study, target)
        self.restore(study, target, content)
        self._steps.push(study, (CALIPER_STEP, target), what, (before, content))
        self._studies.write_down(study, who, what, target, (before.decode(), content.decode()))

    def _content(self, study: str, target: str) -> bytes:
        with self._database.read() as connection:
            found = connection.execute(sa.select(PAGE_CALIPERS.c.content).where(_same(study, target))).scalar()
        return (found or "").encode()


def _same(study: str, target: str) -> sa.ColumnElement[bool]:
    clip, _, caliper = target.partition(_BETWEEN)
    table = PAGE_CALIPERS.c
    return (table.study == study) & (table.clip == clip) & (table.caliper == caliper)


def _measured(caliper: CaliperChange, report: ClipReport) -> Caliper:
    known = caliper.model_dump(by_alias=True)
    if report.row_mm is None or report.column_mm is None:
        reason = report.spacing_reason or "the clip has no calibration"
        return Caliper(**known, mm=None, reason=f"no length in mm: {reason}; set the size of a pixel by the ruler")
    spacing = Spacing(report.row_mm, report.column_mm)
    return Caliper(**known, mm=round(spacing.distance_mm(np.array(caliper.start), np.array(caliper.end)), 3))
