"""The DICOM network node: C-ECHO and C-STORE for known peers, and the answers to storage commitment.

It answers a C-STORE only when the instance is safe. Where it cannot keep one, it says so with the status that lets the
sender keep it: 0xA700 for a full disk, a database out of reach or an instance that is too large, 0xC000 for a damaged
data set, 0xA900 for a data set that is not what was announced. The node does not offer storage commitment itself: it
forgets studies, and no sender should delete its own copy on the node's word.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pynetdicom import AE, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from echoapex.config import ConfigError
from echoapex.serve.database import DATABASE_ERRORS
from echoapex.serve.dicom_client import STORAGE_COMMITMENT, VERIFICATION, silence_libraries
from echoapex.serve.instance_file import read_instance_header
from echoapex.serve.ledger import SendLedger
from echoapex.serve.node_config import NodeConfig
from echoapex.serve.studies import OutOfRoomError, StudyStore, Taken
from echoapex.serve.tls import server_context

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
NOT_AS_ANNOUNCED = 0xA900
CANNOT_UNDERSTAND = 0xC000

_LOG = logging.getLogger("echoapex.node")
_PDU_BYTES = 131_072
_ABORTED_AT = 4
"""An instance of so many times the size limit ends the association; below, its bytes are dropped and it is refused."""
_STORAGE = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


class _Dropped(BytesIO):
    """Takes the place of a data set that is too large, and keeps nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0

    def write(self, data: Any) -> int:
        self.dropped += len(data)
        return len(data)


class StorageHandler:
    """Answers C-STORE, and counts what came.

    Args:
        studies: keeps the instances.
        instance_mb: largest instance that is kept.
    """

    def __init__(self, studies: StudyStore, instance_mb: float) -> None:
        self._studies = studies
        self._most_bytes = int(instance_mb * 1_000_000)
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """How many instances were ``new``, ``duplicate``, ``ignored``, or refused for a reason."""

    def store(self, event: evt.Event) -> int:
        """The status of one C-STORE."""
        outcome, status = self._take(event)
        with self._lock:
            self.counts[outcome] += 1
        if status != SUCCESS:
            _LOG.warning("refused an instance: %s (0x%04X)", outcome, status)
        return status

    def _take(self, event: evt.Event) -> tuple[str, int]:
        request: Any = event.request
        if isinstance(request.DataSet, _Dropped):
            return "too_large", OUT_OF_RESOURCES
        content = event.encoded_dataset()
        if len(content) > self._most_bytes:
            return "too_large", OUT_OF_RESOURCES
        header = read_instance_header(content)
        if header is None:
            return "damaged", CANNOT_UNDERSTAND
        if (header.sop_uid, header.sop_class) != (request.AffectedSOPInstanceUID, request.AffectedSOPClassUID):
            return "not_as_announced", NOT_AS_ANNOUNCED
        try:
            return str(self._studies.take(content, header)), SUCCESS
        except OutOfRoomError:
            return "disk_full", OUT_OF_RESOURCES
        except DATABASE_ERRORS as error:
            _LOG.error("an instance could not be kept (%s)", type(error).__name__)
            return "not_kept", OUT_OF_RESOURCES

    def watch_size(self, event: evt.Event) -> None:
        """Drop the bytes of a data set that grows too large, and end the association if it does not stop."""
        message: Any = event.assoc.dimse.message
        data_set = getattr(message, "data_set", None)
        if isinstance(data_set, _Dropped):
            if data_set.dropped > _ABORTED_AT * self._most_bytes:
                threading.Thread(target=event.assoc.abort, daemon=True).start()
        elif data_set is not None and data_set.tell() > self._most_bytes:
            message.data_set = _Dropped()

    @property
    def received(self) -> int:
        """How many images were kept since the start."""
        return self.counts[Taken.NEW]


class _Entity(AE):
    """Does not count connections that have not asked for an association: a probe of the port keeps no peer out."""

    @property
    def active_associations(self) -> list[Association]:
        """The associations that a peer, or this node, asked for."""
        return [found for found in super().active_associations if found.is_requestor or found.requestor.primitive]


class DicomNode:
    """Listens for associations.

    Args:
        config: address, names, limits and certificates.
        handler: answers C-STORE.
        ledger: learns what peers committed themselves to.

    Raises:
        ConfigError: the address cannot be used, or the certificates cannot.
    """

    def __init__(self, config: NodeConfig, handler: StorageHandler, ledger: SendLedger) -> None:
        silence_libraries()
        self._ledger = ledger
        entity = _Entity(ae_title=config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(config.accept_from)
        entity.maximum_associations = config.limits.associations
        entity.maximum_pdu_size = _PDU_BYTES
        entity.add_supported_context(VERIFICATION)
        for uid in _STORAGE:  # of every class and encoding, or a C-MOVE of a mixed study fails in part
            entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        handlers: list[tuple[Any, Callable[..., Any]]] = [
            (evt.EVT_C_STORE, handler.store),
            (evt.EVT_PDU_RECV, handler.watch_size),
            (evt.EVT_N_EVENT_REPORT, self._commitment),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_FSM_TRANSITION, _end_if_closed),
        ]
        self.rejected = 0
        context = server_context(config.tls) if config.require_tls else None
        try:
            server = entity.start_server(
                (config.host, config.port), block=False, ssl_context=context, evt_handlers=list(handlers)
            )
        except OSError as error:
            place = f"{config.host}:{config.port}"
            raise ConfigError(f"{place}: cannot be listened on ({error.strerror}); choose another port") from error
        assert isinstance(server, ThreadedAssociationServer)
        self._server = server
        self._closed = False

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def associations(self) -> int:
        """How many associations are open."""
        return len(self._server.active_associations)

    def close(self, patience_s: float) -> None:
        """Accept no more associations, let the open ones end, and abort those that take longer."""
        if not self._closed:
            self._closed = True
            self._server.shutdown()
        ends = time.monotonic() + patience_s
        while self._server.active_associations and time.monotonic() < ends:
            time.sleep(0.05)
        for association in self._server.active_associations:
            association.abort()

    def _rejected(self, event: evt.Event) -> None:
        self.rejected += 1
        _LOG.warning("rejected an association: unknown AE title, or too many at once")

    def _commitment(self, event: evt.Event) -> tuple[int, None]:
        """The answer of a peer to a request for storage commitment (PS3.4 J.3.3)."""
        report = event.event_information
        kept = [str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or ()]
        lost = [str(item.ReferencedSOPInstanceUID) for item in report.get("FailedSOPSequence") or ()]
        try:
            self._ledger.answer_commitment(str(report.get("TransactionUID", "")), kept, lost)
        except DATABASE_ERRORS as error:
            _LOG.error("storage commitment could not be noted (%s)", type(error).__name__)
            return 0x0110, None
        if lost:
            _LOG.warning("a peer does not hold %d results; they are sent again", len(lost))
        return SUCCESS, None


def _end_if_closed(event: evt.Event) -> None:
    """End an association whose peer closed the connection before it asked for one, as probes of a port do.

    pynetdicom would wait until its time is up, and count it as an open association until then.
    """
    if event.fsm_event == "Evt17" and event.current_state == "Sta2":
        ended: Any = None
        event.assoc.dul.to_user_queue.put(ended)
