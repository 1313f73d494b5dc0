"""A small UPS-RS server for tests, after DICOM PS3.18 chapter 11 and the state table of PS3.4 (CC.1.1-2).

It keeps its workitems in memory, checks content types, transaction UIDs, states and final state requirements, and never
shows a transaction UID. It can lose its answers, as a network does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydicom.dataset import Dataset

JSON = "application/dicom+json"
FINAL = ("COMPLETED", "CANCELED")
NEEDED_WHEN_COMPLETED = (
    "PerformedStationNameCodeSequence", "PerformedProcedureStepStartDateTime", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepEndDateTime", "OutputInformationSequence",
)  # fmt: skip
NEEDED_WHEN_CANCELED = ("ProcedureStepCancellationDateTime", "ProcedureStepDiscontinuationReasonCodeSequence")


class RefusalError(Exception):
    """A request that is answered with a failure."""

    def __init__(self, status: int, warning: str) -> None:
        super().__init__(warning)
        self.status, self.warning = status, warning


@dataclass
class Step:
    """A unified procedure step."""

    data: Dataset
    state: str = "SCHEDULED"
    transaction_uid: str = ""
    history: list[str] = field(default_factory=list)
    cancel_requested: bool = False

    def shown(self) -> Dataset:
        """What the server shows: never the transaction UID."""
        shown = Dataset.from_json(self.data.to_json_dict())
        shown.ProcedureStepState = self.state
        return shown

    def change_state(self, wanted: str, transaction_uid: str) -> str:
        """Change the state; returns a warning, or nothing."""
        if not transaction_uid:
            raise RefusalError(400, "The Transaction UID is missing.")
        if wanted not in ("IN PROGRESS", *FINAL):
            raise RefusalError(400, "The submitted request is inconsistent with the state of the UPS Instance.")
        if self.state == "SCHEDULED":
            if wanted != "IN PROGRESS":
                raise RefusalError(409, "The submitted request is inconsistent with the state of the UPS Instance.")
            self.state, self.transaction_uid = wanted, transaction_uid
            self.history.append(wanted)
            return ""
        if transaction_uid != self.transaction_uid:
            raise RefusalError(400, "The Transaction UID is incorrect.")
        if self.state in FINAL and wanted == self.state:
            return f"The UPS is already in the requested state of {wanted}."
        if self.state in FINAL or wanted == "IN PROGRESS":
            raise RefusalError(409, "The submitted request is inconsistent with the state of the UPS Instance.")
        if missing := self.missing_for(wanted):
            raise RefusalError(409, f"final state requirements: {' '.join(missing)}")
        self.state = wanted
        self.history.append(wanted)
        return ""

    def missing_for(self, state: str) -> list[str]:
        """The attributes without which a step must not be finished (PS3.4 table CC.2.5-3)."""
        group, needed = {
            "COMPLETED": ("UnifiedProcedureStepPerformedProcedureSequence", NEEDED_WHEN_COMPLETED),
            "CANCELED": ("ProcedureStepProgressInformationSequence", NEEDED_WHEN_CANCELED),
        }[state]
        items = self.data.get(group) or []
        return [name for name in needed if not (items and items[0].get(name))]

    def update(self, changes: Dataset, transaction_uid: str) -> None:
        """Change attributes."""
        if self.state in FINAL:
            raise RefusalError(400, "The submitted request is inconsistent with the current state of the Workitem.")
        if self.state == "SCHEDULED" and transaction_uid:
            raise RefusalError(400, "The target URI did not reference a claimed Workitem.")
        if self.state == "IN PROGRESS" and transaction_uid != self.transaction_uid:
            raise RefusalError(400, "The Transaction UID is missing." if not transaction_uid else "... is incorrect.")
        if "ProcedureStepState" in changes or "TransactionUID" in changes:
            raise RefusalError(400, "The state is changed by another transaction.")
        self.data.update(changes)
        for told in changes.get("ProcedureStepProgressInformationSequence") or ():
            self.history.append(f"{int(told.ProcedureStepProgress)} {told.ProcedureStepProgressDescription}")

    def cancel(self) -> None:
        """What the server does when somebody who is not the performer asks to cancel."""
        if self.state == "COMPLETED":
            raise RefusalError(409, "The submitted request is inconsistent with the state of the UPS Instance.")
        if self.state == "SCHEDULED":
            self.state = "CANCELED"
            self.history += ["IN PROGRESS", "CANCELED"]
        self.cancel_requested = True


class WorklistServerForTests:
    """The server, on a port of its own.

    Args:
        named_transaction: take the transaction UID of an update as ``?transaction-uid=UID``.
    """

    def __init__(self, *, named_transaction: bool = False) -> None:
        self.steps: dict[str, Step] = {}
        self.lock = threading.Lock()
        self.lose_answer: Callable[[str, str], bool] = lambda method, path: False
        self.requests: list[str] = []
        self._named = named_transaction
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                path, query = urlsplit(self.path).path, urlsplit(self.path).query
                with server.lock:
                    server.requests.append(f"{self.command} {path}")
                    try:
                        status, warning, content = server.answer(self.command, path, query, self.headers, body)
                    except RefusalError as refusal:
                        status, warning, content = refusal.status, str(refusal), None
                    lost = server.lose_answer(self.command, path)
                if lost:
                    self.connection.close()
                    return
                text = b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if warning:
                    self.send_header("Warning", f"299 test: {warning}")
                if text:
                    self.send_header("Content-Type", JSON)
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self) -> None:
                self.handle_any()

            def do_POST(self) -> None:
                self.handle_any()

            def do_PUT(self) -> None:
                self.handle_any()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/dicom-web"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()

    def schedule(self, uid: str, study_uid: str, **attributes: Any) -> Step:
        """Create a step whose input is one study."""
        data = Dataset()
        data.SOPInstanceUID, data.PatientName = uid, "Name^That must not be logged"
        data.InputReadinessState, data.WorklistLabel = "READY", "echo"
        station = Dataset()
        station.CodeValue, station.CodingSchemeDesignator, station.CodeMeaning = "ECHOAPEX", "99TEST", "EchoApex"
        data.ScheduledStationNameCodeSequence = [station]
        source = Dataset()
        source.StudyInstanceUID, source.TypeOfInstances = study_uid, "DICOM"
        data.InputInformationSequence = [source]
        for keyword, value in attributes.items():
            setattr(data, keyword, value)
        self.steps[uid] = Step(data)
        return self.steps[uid]

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> tuple[int, str, Any]:
        """Status, warning and content."""
        parts = path.removeprefix("/dicom-web/workitems").strip("/").split("/")
        if not path.startswith("/dicom-web/workitems"):
            raise RefusalError(404, "no such service")
        if method == "GET" and parts == [""]:
            return self._search(query)
        step = self.steps.get(parts[0])
        if step is None:
            raise RefusalError(404, "no such workitem")
        if method == "GET":
            return 200, "", [step.shown().to_json_dict()]
        if parts[1:] == ["cancelrequest"]:
            step.cancel()
            return 202, "", None
        if headers.get("Content-Type") != JSON:
            raise RefusalError(415, "the content type is not supported")
        changes = Dataset.from_json(json.loads(body))
        if method == "PUT" and parts[1:] == ["state"]:
            wanted, transaction_uid = changes.get("ProcedureStepState", ""), changes.get("TransactionUID", "")
            return 200, step.change_state(str(wanted), str(transaction_uid)), None
        if method == "POST" and len(parts) == 1:
            named = dict(parse_qsl(query)).get("transaction-uid", "")
            step.update(changes, named if self._named else unquote(query))
            return 200, "", None
        raise RefusalError(405, "no such transaction")

    def _search(self, query: str) -> tuple[int, str, Any]:
        asked = dict(parse_qsl(query))
        limit = int(asked.pop("limit", "100"))
        asked.pop("includefield", None)
        found = [shown for shown in (step.shown() for step in self.steps.values()) if _matches(shown, asked)]
        return (200, "", [one.to_json_dict() for one in found[:limit]]) if found else (204, "", None)


def _matches(shown: Dataset, asked: dict[str, str]) -> bool:
    for key, value in asked.items():
        *groups, keyword = key.split(".")
        places = [shown]
        for group in groups:
            places = [item for place in places for item in place.get(group) or ()]
        if not any(str(place.get(keyword, "")) == value for place in places):
            return False
    return True
