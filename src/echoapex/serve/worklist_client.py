"""The client of a worklist over HTTP (UPS-RS): search for workitems, claim one, tell its progress, and finish it.

A workitem is a unified procedure step. The performer that claims it gives a transaction UID, and the server takes
further changes from nobody else. The server never shows this UID. Sources: DICOM PS3.18 chapter 11, PS3.4 annex CC; IHE
Radiology AIW-I, transactions of the task performer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from pydicom.dataset import Dataset

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.header import text_of
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.dicomweb import one_line_errors, open_session
from echoapex.serve.instance_file import is_uid
from echoapex.serve.node_config import WorklistServer
from echoapex.vocabulary.codes import Code

_JSON = "application/dicom+json"
_REFUSED = (400, 409)
"""The request does not fit the state of the workitem, or the transaction UID is not that of the claim."""
_GONE = (404, 410)
SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"


@dataclass(frozen=True)
class Workitem:
    """A step that waits for a performer.

    Attributes:
        uid: of the workitem.
        study_uid: the only study of its input.
    """

    uid: str
    study_uid: str


class RefusedError(PeerError):
    """The server does not take a change: the workitem belongs to another performer, or is finished."""


class WorklistClient:
    """What this node asks of a worklist.

    Args:
        server: where it is, and which workitems are for this node.

    Raises:
        ConfigError: the environment lacks the password.
    """

    name = "worklist"

    def __init__(self, server: WorklistServer) -> None:
        self._server = server
        self._session = open_session(server)

    def echo(self) -> None:
        """Verify that the server answers a query.

        Raises:
            PeerError: it does not.
        """
        self._ask("GET", "", {"limit": "1", "ProcedureStepState": SCHEDULED})

    def search(self, most: int) -> list[Workitem]:
        """Workitems that are scheduled for this node, and whose input is one study.

        Args:
            most: how many to ask for.

        Raises:
            PeerError: the query failed.
        """
        query = {"ProcedureStepState": SCHEDULED, "InputReadinessState": "READY", "limit": str(most)}
        if self._server.station:
            query["ScheduledStationNameCodeSequence.CodeValue"] = self._server.station
        if self._server.label:
            query["WorklistLabel"] = self._server.label
        answer = self._ask("GET", "", {**query, "includefield": "InputInformationSequence"})
        with one_line_errors(self.name, "the query"), muted_pydicom():
            found = [Dataset.from_json(row) for row in (answer.json() if answer.content else ())]
            items = [_read_workitem(one) for one in found]
        return [item for item in items if item is not None]

    def state_of(self, uid: str) -> str:
        """The state of a workitem; empty where the server does not have it.

        Raises:
            PeerError: the server cannot be asked.
        """
        answer = self._ask("GET", f"/{uid}", also=_GONE)
        if answer.status_code in _GONE:
            return ""
        with one_line_errors(self.name, "the workitem"), muted_pydicom():
            row = answer.json()
            return text_of(Dataset.from_json(row[0] if isinstance(row, list) else row), "ProcedureStepState")

    def claim(self, uid: str, transaction_uid: str) -> bool:
        """Take a workitem; returns whether it is ours, also where an earlier claim got through and its answer did not.

        Args:
            uid: of the workitem.
            transaction_uid: ours, kept before this call, so that a crash does not lose it.

        Raises:
            PeerError: the server cannot be asked.
        """
        try:
            self.change_state(uid, transaction_uid, IN_PROGRESS)
            return True
        except RefusedError:
            if self.state_of(uid) != IN_PROGRESS:
                return False
        try:  # only the performer whose UID is that of the claim may change the workitem
            self.update(uid, transaction_uid, progress_of(0, "claimed"))
            return True
        except RefusedError:
            return False

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> None:
        """Change attributes of a workitem that is ours.

        Raises:
            RefusedError: it is not ours, or is finished.
            PeerError: the server cannot be asked.
        """
        query = f"?transaction-uid={transaction_uid}" if self._server.named_transaction else f"?{transaction_uid}"
        self._ask("POST", f"/{uid}{query}", body=changes)

    def change_state(self, uid: str, transaction_uid: str, state: str) -> None:
        """Ask for another state; a workitem that is completed or canceled already may be asked for the same again.

        Raises:
            RefusedError: the workitem is not ours, or its state does not allow it.
            PeerError: the server cannot be asked.
        """
        change = Dataset()
        change.TransactionUID, change.ProcedureStepState = transaction_uid, state
        self._ask("PUT", f"/{uid}/state", body=change)

    def _ask(
        self,
        method: str,
        place: str,
        query: dict[str, str] | None = None,
        *,
        body: Dataset | None = None,
        also: Sequence[int] = (),
    ) -> requests.Response:
        """The answer to a request: success, or one of the statuses in ``also``."""
        with one_line_errors(self.name, "the request"), muted_pydicom():
            content = None if body is None else json.dumps(body.to_json_dict()).encode()
            headers = {"Accept": _JSON, **({} if body is None else {"Content-Type": _JSON})}
            answer = self._session.request(
                method,
                f"{self._server.url.rstrip('/')}/workitems{place}",
                params=query,
                data=content,
                headers=headers,
                timeout=self._server.timeout_s,
                allow_redirects=False,
            )
            if answer.status_code in also:
                return answer
            if answer.status_code in (*_REFUSED, *_GONE) and body is not None:
                raise RefusedError(f"{self.name}: refuses a change (HTTP {answer.status_code})", for_good=True)
            answer.raise_for_status()
            return answer


def progress_of(percent: int, what: str) -> Dataset:
    """The attributes that tell how far a step is.

    Args:
        percent: done.
        what: is being done, without identifiers.
    """
    told = Dataset()
    told.ProcedureStepProgress = str(percent)
    told.ProcedureStepProgressDescription = what
    changes = Dataset()
    changes.ProcedureStepProgressInformationSequence = [told]
    return changes


def cancellation_of(reason: str, code: Code) -> Dataset:
    """The attributes that a canceled step needs (PS3.4 table CC.2.5-3, final state X).

    Args:
        reason: without identifiers.
        code: the same as a code of CID 9300.
    """
    changes = progress_of(0, "not done")
    told = changes.ProcedureStepProgressInformationSequence[0]
    told.ReasonForCancellation = reason
    told.ProcedureStepCancellationDateTime = dicom_time(datetime.now())
    told.ProcedureStepDiscontinuationReasonCodeSequence = [code_sequence_item(code)]
    return changes


def dicom_time(moment: datetime) -> str:
    """A moment as DICOM writes it (DT)."""
    return moment.strftime("%Y%m%d%H%M%S")


def code_sequence_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _read_workitem(found: Dataset) -> Workitem | None:
    """A workitem that this node can do; None where it has no valid UID, or not exactly one study as its input."""
    uid = text_of(found, "SOPInstanceUID")
    inputs: list[Any] = list(found.get("InputInformationSequence") or ())
    studies = {text_of(one, "StudyInstanceUID") for one in inputs} or {text_of(found, "StudyInstanceUID")}
    if len(studies) != 1 or not is_uid(uid):
        return None
    study_uid = studies.pop()
    return Workitem(uid, study_uid) if is_uid(study_uid) else None
