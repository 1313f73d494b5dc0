"""What a reader decides: values, note, sign-off; undo, audit trail, exports, and sending to a PACS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path, Response

from echoapex.config import ConfigError
from echoapex.infer.review.recomputation import ReviewError
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.node_config import DicomPeer, NodeConfig
from echoapex.serve.page.calipers import CALIPER_STEP
from echoapex.serve.page.correction_schemas import (
    Audit,
    Note,
    PeerRow,
    Peers,
    SendRequest,
    Sent,
    Statement,
    Undone,
)
from echoapex.serve.page.corrections import CLIP_STEP
from echoapex.serve.page.exports import ExportKind
from echoapex.serve.page.page_parts import Admin, PageParts, Parts, User
from echoapex.serve.page.reviews import VALUE_STEP
from echoapex.serve.page.routes_studies import StudyId
from echoapex.serve.page.schemas import DecidedValue, SignOff, ValueChange
from echoapex.serve.page.security import PageError
from echoapex.serve.page.steps import Step
from echoapex.serve.worker import client_of

router = APIRouter(tags=["review"])
ValueName = Annotated[str, Path(pattern="^[a-z0-9_]{1,64}(@[A-Za-z0-9][A-Za-z0-9_-]{0,79})?$")]
_SENT = (ExportKind.SR, ExportKind.SR1500, ExportKind.SEG)


@router.patch("/studies/{study}/values/{value}")
def decide_value(study: StudyId, value: ValueName, change: ValueChange, parts: Parts, user: User) -> DecidedValue:
    """Approve, edit, reject or reopen a value; what rests on it follows."""
    return parts.reviews.decide(study, value, change, user.user)


@router.post("/studies/{study}/undo")
def undo(study: StudyId, parts: Parts, user: User) -> Undone:
    """Take back the latest change of a clip, a value or a caliper."""
    return _move(parts, study, user.user, undone=False)


@router.post("/studies/{study}/redo")
def redo(study: StudyId, parts: Parts, user: User) -> Undone:
    """Do again what was undone last."""
    return _move(parts, study, user.user, undone=True)


def _move(parts: PageParts, study: str, who: str, *, undone: bool) -> Undone:
    """Go one step back, or forward (``undone``)."""
    with parts.reviews.changing(study):
        state = parts.results.state(study)
        step = parts.steps.last(study, undone=undone)
        if step is None:
            raise PageError(f"there is nothing to {'do again' if undone else 'undo'}", 409)
        before = parts.reviews.values(study)
        _restore(parts, study, step, step.after if undone else step.before)
        parts.steps.mark(step, undone=not undone)
        parts.studies.write_down(study, who, f"{'redo' if undone else 'undo'}: {step.what}", step.target)
        if step.kind == VALUE_STEP:
            parts.reviews.write_down_following(study, who, before, step.target)
        parts.reviews.refresh(study)
        state = parts.results.state(study)
    clip = step.target.partition("/")[0] if step.kind in (CLIP_STEP, CALIPER_STEP) else None
    can_undo, can_redo = parts.steps.possible(study)
    return Undone(
        clip=parts.reviews.clip(study, clip, state) if clip else None,
        values=parts.reviews.values(study, state),
        undone=step.what,
        can_undo=can_undo,
        can_redo=can_redo,
    )


def _restore(parts: PageParts, study: str, step: Step, content: bytes) -> None:
    try:
        if step.kind == CLIP_STEP:
            parts.corrections.restore(study, step.target, content)
        elif step.kind == VALUE_STEP:
            parts.reviews.restore(study, step.target, content)
        else:
            parts.calipers.restore(study, step.target, content)
    except ReviewError as error:
        raise PageError(str(error), 409) from None


@router.put("/studies/{study}/note")
def write_note(study: StudyId, note: Note, parts: Parts, user: User) -> Note:
    """Replace the reader's note."""
    parts.reviews.write_note(study, note.text, user.user)
    return note


@router.post("/studies/{study}/sign")
def sign(study: StudyId, statement: Statement, parts: Parts, user: User) -> SignOff:
    """Sign a study off; nothing of it changes any more."""
    return parts.reviews.sign(study, statement.statement, user.user)


@router.delete("/studies/{study}/sign", status_code=204)
def unsign(study: StudyId, parts: Parts, user: Admin) -> None:
    """Take a signature back; it stays in the audit trail."""
    parts.reviews.unsign(study, user.user)


@router.get("/studies/{study}/audit")
def audit(study: StudyId, parts: Parts) -> Audit:
    """Who changed what and when, with the state before and after."""
    return Audit(entries=parts.reviews.audit(study))


@router.get("/studies/{study}/export/{kind}", response_class=Response)
def export(study: StudyId, kind: ExportKind, parts: Parts) -> Response:
    """A study as a file; rejected values are left out, and edited ones are marked."""
    made = parts.exports.export(study, kind)
    name = f"study-{study}-{made.name}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(made.content, media_type=made.media_type, headers=headers)


@router.get("/peers")
def list_peers(parts: Parts) -> Peers:
    """The systems that results can be sent to."""
    return Peers(peers=list(_peer_rows(parts.peers)))


def _peer_rows(config: NodeConfig | None) -> Iterator[PeerRow]:
    for name, peer in (config.peers if config else {}).items():
        yield PeerRow(name=name, kind="DICOM" if isinstance(peer, DicomPeer) else "DICOMweb")


@router.post("/studies/{study}/send")
def send(study: StudyId, request: SendRequest, parts: Parts, user: User) -> Sent:
    """Send structured reports and segmentations to a PACS, over DICOM or DICOMweb."""
    if parts.peers is None or request.peer not in parts.peers.peers:
        raise PageError("there is no such peer; start the page with --peers and choose one of them", 404)
    refused: list[str] = []
    sent = 0
    with parts.exports.objects(study, _SENT) as objects:
        try:
            for _, error in client_of(parts.peers, request.peer).store(objects, lambda _: None):
                sent += error is None
                refused += [] if error is None else [str(error)]
        except (PeerError, ConfigError) as error:
            raise PageError(str(error), 503) from None
    change = (None, {"peer": request.peer, "sent": sent, "refused": len(refused)})
    parts.studies.write_down(study, user.user, f"sent to {request.peer}", "", change)
    return Sent(sent=sent, refused=refused)
