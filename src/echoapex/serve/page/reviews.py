"""What readers decide about a study: values, note, sign-off; each change can be undone and is written down."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from echoapex.infer.outputs.files import utc_now
from echoapex.infer.review.decided_values import DecidedStudy, decide_study
from echoapex.serve.database import Database
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.correction_schemas import AuditEntry
from echoapex.serve.page.schemas import (
    DecidedValue,
    PageState,
    ReviewedClip,
    ReviewedValue,
    SignOff,
    StudyDetail,
    ValueChange,
    ValueState,
)
from echoapex.serve.page.security import PageError
from echoapex.serve.page.steps import Steps
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.study_results import StudyFindings, StudyResults
from echoapex.serve.page.tables import PAGE_DECISIONS
from echoapex.serve.page.value_list import Decision, compare_ef, list_values, people_said, show_clip
from echoapex.vocabulary import Quantity

VALUE_STEP = "value"
_SIGNED = "the study is signed off; an admin can take the signature back"


class Reviews:
    """The decisions of readers.

    Args:
        database: where they are kept.
        studies: the list.
        results: of the studies.
        inputs: the files of the clips.
        steps: what can be undone.
    """

    def __init__(
        self, database: Database, studies: StudyList, results: StudyResults, inputs: ClipInputs, steps: Steps
    ) -> None:
        self._database = database
        self._studies = studies
        self.results = results
        self._inputs = inputs
        self._steps = steps
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def locked(self, study: str) -> Iterator[None]:
        """Keep others from changing a study."""
        with self._guard:
            lock = self._locks.setdefault(study, threading.RLock())
        with lock:
            yield

    @contextmanager
    def changing(self, study: str) -> Iterator[None]:
        """Change a study, one change at a time.

        Raises:
            PageError: it is signed off.
        """
        with self.locked(study):
            if self._studies.places(study).sealed:
                raise PageError(_SIGNED, 409)
            yield

    def detail(self, study: str) -> StudyDetail:
        """Everything about a study.

        Raises:
            PageError: there is no such study, or it is not analysed yet.
        """
        state = self.results.state(study)
        values = self.values(study, state)
        can_undo, can_redo = self._steps.possible(study)
        sealed = self._studies.places(study).sealed
        return StudyDetail(
            study=self._studies.row(study),
            report=state.current.report,
            original=state.original.report,
            values=values,
            clips=[self.clip(study, clip.clip_id, state) for clip in state.current.report.clips],
            note=self._studies.note(study),
            signed=SignOff.model_validate_json(sealed) if sealed else None,
            lvh=self.decided(study, state).reported.lvh,
            disagreement=compare_ef(values),
            can_undo=can_undo and not sealed,
            can_redo=can_redo and not sealed,
        )

    def values(self, study: str, state: StudyFindings | None = None) -> list[ReviewedValue]:
        """The values of a study as they are now."""
        return list_values(state or self.results.state(study), self.decisions(study))

    def decided(self, study: str, state: StudyFindings | None = None) -> DecidedStudy:
        """The study as readers left it."""
        state = state or self.results.state(study)
        return decide_study(state.current, people_said(self.decisions(study)))

    def clip(self, study: str, clip: str, state: StudyFindings | None = None) -> ReviewedClip:
        """One clip as it is now.

        Raises:
            PageError: the study has no such clip.
        """
        state = state or self.results.state(study)
        originals = {report.clip_id: report for report in state.original.report.clips}
        for number, report in enumerate(state.current.report.clips, start=1):
            if report.clip_id == clip:
                facts, masks = self._inputs.facts(study, report), self.results.masks(study, clip)
                return show_clip(report, number, facts, masks, corrected=report != originals.get(clip))
        raise PageError("the study has no such clip; load the study again", 404)

    def decisions(self, study: str) -> dict[str, Decision]:
        """What was decided, by the name of the value."""
        query = sa.select(PAGE_DECISIONS).where(PAGE_DECISIONS.c.study == study)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["value_id"]: Decision.model_validate_json(row["content"]) for row in rows}

    def decide(self, study: str, name: str, change: ValueChange, who: str) -> DecidedValue:
        """Approve, edit, reject or reopen a value; what rests on it follows.

        Raises:
            PageError: there is no such value, an edit has no number, it is left out, or the study is signed off.
        """
        with self.changing(study):
            state, decisions = self.results.state(study), self.decisions(study)
            shown = {value.id: value for value in list_values(state, decisions)}
            if name not in shown:
                raise PageError("the study has no such value; load the study again", 404)
            _check_change(change)
            undecided = _find(list_values(state, {key: one for key, one in decisions.items() if key != name}), name)
            if change.state is ValueState.APPROVED and undecided is not None and undecided.left_out:
                raise PageError(f"the value is left out: {undecided.left_out}; edit it to give a number", 409)
            before = self._content(study, name)
            basis = undecided.value if undecided is not None else shown[name].value
            decision = None
            if change.state is not ValueState.OPEN:
                value = change.value if change.state is ValueState.EDITED else None
                decision = Decision(state=change.state, value=value, reason=change.reason, by=who, basis=basis)
            after = decision.model_dump_json().encode() if decision else b""
            self.restore(study, name, after)
            self._steps.push(study, (VALUE_STEP, name), f"{change.state.value}: {shown[name].name}", (before, after))
            change_of = (_readable(before), _readable(after))
            self._studies.write_down(study, who, f"value {change.state.value}", name, change_of)
            self.write_down_following(study, who, list(shown.values()), name)
            self.refresh(study)
        now = self.values(study)
        found = _find(now, name) or shown[name]  # one that followed another may be gone
        others = [value for value in now if value.id != name and value != shown.get(value.id)]
        gone = sorted(set(shown) - {value.id for value in now})
        return DecidedValue(**found.model_dump(), others=others, gone=gone)

    def write_down_following(self, study: str, who: str, before: list[ReviewedValue], decided: str) -> None:
        """Write into the audit trail which values changed with the one that was decided, with the old numbers."""
        old = {value.id: _computed(value) for value in before}
        new = {value.id: _computed(value) for value in self.values(study)}
        for name in dict.fromkeys((*old, *new)):
            parts = (old.get(name), new.get(name))
            if name != decided and parts[0] != parts[1]:
                is_there = parts[1] is not None and parts[1]["value"] is not None
                what = "value computed again" if is_there else "value left out"
                self._studies.write_down(study, who, what, name, parts)

    def restore(self, study: str, name: str, content: bytes) -> None:
        """Put a decision in its place; empty for none."""
        same = (PAGE_DECISIONS.c.study == study) & (PAGE_DECISIONS.c.value_id == name)
        with self._database.begin() as connection:
            connection.execute(sa.delete(PAGE_DECISIONS).where(same))
            if content:
                row = {"study": study, "value_id": name, "content": content.decode()}
                connection.execute(sa.insert(PAGE_DECISIONS).values(**row))

    def _content(self, study: str, name: str) -> bytes:
        same = (PAGE_DECISIONS.c.study == study) & (PAGE_DECISIONS.c.value_id == name)
        with self._database.read() as connection:
            found = connection.execute(sa.select(PAGE_DECISIONS.c.content).where(same)).scalar()
        return (found or "").encode()

    def write_note(self, study: str, text: str, who: str) -> None:
        """Replace the reader's note."""
        with self.changing(study):
            before = self._studies.note(study)
            self._studies.update(study, note=text)
            self._studies.write_down(study, who, "note", "", (before, text))

    def sign(self, study: str, statement: str, who: str) -> SignOff:
        """Sign a study off; nothing of it changes any more.

        Raises:
            PageError: it is signed off, or not analysed.
        """
        with self.changing(study):
            self.results.state(study)
            signed = SignOff(by=who, when=utc_now(), statement=statement)
            self._studies.update(study, sealed=signed.model_dump_json(), state=PageState.SIGNED, reviewed=True)
            self._studies.write_down(study, who, "signed off", "", (None, signed.model_dump()))
        return signed

    def unsign(self, study: str, who: str) -> None:
        """Take a sign-off back; it stays in the audit trail.

        Raises:
            PageError: there is none.
        """
        sealed = self._studies.places(study).sealed
        if not sealed:
            raise PageError("the study is not signed off", 409)
        self._studies.update(study, sealed="", state=PageState.READY)
        self._studies.write_down(study, who, "signature taken back", "", (json.loads(sealed), None))

    def audit(self, study: str) -> list[AuditEntry]:
        """All changes of a study, the oldest first."""
        return [
            AuditEntry(
                when=_iso(row["time"]),
                who=row["who"],
                what=row["what"],
                where=row["place"],
                before=json.loads(row["before"]),
                after=json.loads(row["after"]),
            )
            for row in self._studies.audit(study)
        ]

    def refresh(self, study: str) -> None:
        """Let the row of the list say what the study is now."""
        state = self.results.state(study, finished=False)
        decided = self.decided(study, state)
        shown = [value for value in self.values(study, state) if value.state is not ValueState.REJECTED]
        values = {value.id: value for value in shown if not value.left_out}
        ef = values.get(Quantity.LVEF.value) or values.get(Quantity.LVEF_DISCS.value)
        clips = state.current.report.clips
        analysed = [clip for clip in clips if not clip.set_aside]
        known = [clip.quality for clip in analysed if clip.quality is not None]
        flags = dict.fromkeys(flag for value in values.values() for flag in value.flags)
        if analysed and all(clip.row_mm is None for clip in analysed):
            flags["not_calibrated"] = None
        if not analysed:
            flags["nothing_analysed"] = None
        views = Counter(clip.view.value for clip in analysed if clip.view)
        self._studies.tag(study, dict(sorted(views.items())), list(flags))
        self._studies.update(
            study,
            clips=len(clips),
            clips_done=len(clips),
            quality=round(min(known), 4) if known else None,
            ef_percent=ef.value if ef else None,
            ef_method=ef.method if ef else "",
            lvh=decided.reported.lvh.category or "",
            reviewed=self._steps.possible(study)[0] or bool(self.decisions(study)),
        )


def _check_change(change: ValueChange) -> None:
    if change.state is ValueState.EDITED and change.value is None:
        raise PageError("an edited value needs its new number; give value", 422)
    if change.state is ValueState.REJECTED and not change.reason.strip():
        raise PageError("a rejected value needs a reason; give one", 422)


def _find(values: list[ReviewedValue], name: str) -> ReviewedValue | None:
    return next((value for value in values if value.id == name), None)


def _computed(value: ReviewedValue) -> dict[str, Any]:
    """What the audit trail says of a value that nobody decided."""
    told: dict[str, Any] = {"value": None if value.left_out else value.value}
    if value.follows:
        told["follows"] = value.follows
    return {**told, "reason": value.left_out} if value.left_out else told


def _readable(content: bytes) -> Any:
    return json.loads(content) if content else None


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
