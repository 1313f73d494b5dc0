"""A DICOM archive that counts what it is sent, so that a test sees what a real archive would hide: a second sending."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind
from real_peers import free_port


class CountingArchive:
    """A DICOM archive that counts what it is sent, answers queries, and can be told to fail."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: Counter[str] = Counter()
        self.kept: set[str] = set()
        self.statuses: list[int] = []
        self.abort_after_keeping = False
        self.before_answer: threading.Event | None = None
        self.queries = 0
        self._server: Any = None

    def open(self) -> None:
        """Start to listen."""
        entity = AE(ae_title="ARCHIVE")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server = None

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.received[uid] += 1
        status = self.statuses.pop(0) if self.statuses else 0x0000
        if status == 0:
            self.kept.add(uid)
        if self.abort_after_keeping:
            self.abort_after_keeping = False
            event.assoc.abort()
        if self.before_answer is not None:
            self.before_answer.wait(60)
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Any]]:
        self.queries += 1
        if event.identifier.SOPInstanceUID in self.kept:
            yield 0xFF00, event.identifier
