"""The DICOM client: verify, query, retrieve, store, and ask for storage commitment at another application entity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.presentation import AllStoragePresentationContexts

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.header import text_of
from echoapex.serve.instance_file import CAPTURES, ULTRASOUND
from echoapex.serve.ledger import ResultObject
from echoapex.serve.node_config import DicomPeer, TlsFiles
from echoapex.serve.tls import client_context

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The one instance of the storage commitment push model (PS3.4 J.3.5)."""
REQUEST_COMMITMENT = 1

_SUCCESS, _DUPLICATE = 0x0000, 0x0111
_PENDING = (0xFF00, 0xFF01)
_STORED = (_SUCCESS, _DUPLICATE, 0xB000, 0xB006, 0xB007)
"""The peer has the object: now, already before, or with elements that it changed or did not understand."""
_MOST_CONTEXTS = 128
_CONNECT_S = 10
_IMAGES = (*ULTRASOUND[:2], CAPTURES[0], CAPTURES[-1])
_OTHERS = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66", "66.4", "104.1", "11.1"))
_ENCODINGS = tuple(
    f"1.2.840.10008.1.2{end}"
    for end in ("", ".1", ".5", *(f".4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 100, 102, 103)))
)
"""Uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000, MPEG-2 and MPEG-4: what ultrasound machines store."""


class PeerError(ValueError):
    """A peer that did not do what was asked.

    Attributes:
        for_good: trying again without a change at one of the two sides is useless.
    """

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class DicomClient:
    """What this node asks of one DICOM peer.

    Args:
        name: what messages call the peer.
        peer: where it is.
        own_title: AE title of this node.
        tls: files for TLS.
    """

    def __init__(self, name: str, peer: DicomPeer, own_title: str, tls: TlsFiles) -> None:
        silence_libraries()
        self.name = name
        self._peer = peer
        self._tls = tls
        self._entity = AE(ae_title=own_title)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = peer.timeout_s
        self._entity.connection_timeout = min(_CONNECT_S, peer.timeout_s)
        self._own_title = own_title

    def echo(self) -> None:
        """Verify that the peer answers.

        Raises:
            PeerError: it does not.
        """
        with self._associated([build_context(VERIFICATION)]) as association:
            self._require(association.send_c_echo(), "C-ECHO")

    def find_studies(self, **filters: str) -> list[dict[str, str]]:
        """The studies that match, by C-FIND: UID, date, modalities and number of instances; no names.

        Args:
            filters: values by keyword, with the wildcards and ranges of DICOM, for example ``StudyDate="20260101-"``.

        Raises:
            PeerError: the query failed.
        """
        shown = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
        query = {**dict.fromkeys(shown, ""), **filters}
        with self._associated([build_context(STUDY_ROOT_FIND)]) as association:
            found = self._find(association, "STUDY", query)
        return [{keyword: text_of(one, keyword) for keyword in shown} for one in found]

    def has(self, result: ResultObject) -> bool:
        """Whether the peer has an object, by C-FIND.

        Raises:
            PeerError: the query failed.
        """
        query = {"StudyInstanceUID": result.study_uid, "SeriesInstanceUID": result.series_uid}
        with self._associated([build_context(STUDY_ROOT_FIND)]) as association:
            found = self._find(association, "IMAGE", {**query, "SOPInstanceUID": result.sop_uid})
        return any(text_of(one, "SOPInstanceUID") == result.sop_uid for one in found)

    def move(self, study_uid: str) -> None:
        """Let the peer send a study to this node, by C-MOVE; the peer must know the node by its AE title.

        Raises:
            PeerError: not all instances came.
        """
        with self._associated([build_context(STUDY_ROOT_MOVE)]) as association:
            query = _query("STUDY", {"StudyInstanceUID": study_uid})
            self._follow(association.send_c_move(query, self._own_title, STUDY_ROOT_MOVE), "C-MOVE")

    def get(self, study_uid: str, keep: Callable[[evt.Event], int]) -> None:
        """Fetch a study over the same association, by C-GET.

        Args:
            study_uid: the study.
            keep: takes each instance as the handler of ``EVT_C_STORE`` does, and returns the status.

        Raises:
            PeerError: not all instances came.
        """
        known = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        others = list(
            dict.fromkeys((*ULTRASOUND, *CAPTURES, *(uid for uid in known if ".88." in uid), *_OTHERS, *known))
        )
        # one context for each encoding of the images, or the peer picks one encoding for all and converts
        images = [build_context(uid, syntax) for uid in _IMAGES for syntax in _ENCODINGS]
        rest = [build_context(uid, ALL_TRANSFER_SYNTAXES) for uid in others if uid not in _IMAGES]
        contexts = [build_context(STUDY_ROOT_GET), *images, *rest][:_MOST_CONTEXTS]
        roles = [
            build_role(uid, scp_role=True) for uid in dict.fromkeys(str(one.abstract_syntax) for one in contexts[1:])
        ]
        handlers = [(evt.EVT_C_STORE, keep)]
        with self._associated(contexts, ext_neg=roles, evt_handlers=handlers) as association:
            query = _query("STUDY", {"StudyInstanceUID": study_uid})
            self._follow(association.send_c_get(query, STUDY_ROOT_GET), "C-GET")

    def store(
        self, results: Sequence[ResultObject], begin: Callable[[ResultObject], None]
    ) -> Iterator[tuple[ResultObject, PeerError | None]]:
        """Send objects over one association, by C-STORE.

        Args:
            results: the objects.
            begin: is called before each is sent.

        Yields:
            Each object, and why the peer refused it (None: the peer has it).

        Raises:
            PeerError: the peer cannot be reached, or was lost.
        """
        datasets = [_read(one.path) for one in results]
        needs = {
            (one.sop_class, str(data.file_meta.TransferSyntaxUID)) for one, data in zip(results, datasets, strict=True)
        }
        with self._associated([build_context(uid, syntax) for uid, syntax in sorted(needs)]) as association:
            for one, dataset in zip(results, datasets, strict=True):
                if not any(one.sop_class == context.abstract_syntax for context in association.accepted_contexts):
                    yield one, PeerError(f"{self.name}: does not accept this kind of object", for_good=True)
                    continue
                begin(one)
                with muted_pydicom():
                    status = self._status(association.send_c_store(dataset), "C-STORE")
                if status in _STORED:
                    yield one, None
                else:
                    lasting = status == 0x0122 or status >> 12 == 0xC or status >> 8 == 0xA9
                    yield one, PeerError(f"{self.name}: refused an object (0x{status:04X})", for_good=lasting)

    def request_commitment(self, results: Sequence[ResultObject], transaction_uid: str) -> None:
        """Ask the peer to commit itself to the storage of objects; it answers later, to the node.

        Raises:
            PeerError: it refuses to be asked.
        """
        request = Dataset()
        request.TransactionUID = transaction_uid
        request.ReferencedSOPSequence = [_reference(one) for one in results]
        with self._associated([build_context(STORAGE_COMMITMENT)]) as association:
            status, _ = association.send_n_action(request, REQUEST_COMMITMENT, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)
            self._require(status, "storage commitment")

    @contextmanager
    def _associated(self, contexts: list[Any], **options: Any) -> Iterator[Association]:
        peer = self._peer
        if peer.tls:
            options["tls_args"] = (client_context(self._tls), peer.host)
        association = self._entity.associate(peer.host, peer.port, contexts, peer.ae_title, **options)
        if not association.is_established:
            if association.is_rejected:
                raise PeerError(f"{self.name}: refuses the association; check the AE titles at both sides")
            raise PeerError(f"{self.name}: cannot be reached; check host, port and TLS")
        try:
            if not association.accepted_contexts:
                raise PeerError(f"{self.name}: does not offer this service", for_good=True)
            yield association
        except (ValueError, RuntimeError) as error:
            if isinstance(error, PeerError):
                raise
            # what pynetdicom raises where the association ended or nothing suitable was agreed on
            raise PeerError(f"{self.name}: the association ended early ({type(error).__name__})") from None
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()

    def _find(self, association: Association, level: str, values: dict[str, str]) -> list[Dataset]:
        found = []
        with muted_pydicom():
            for answer, identifier in association.send_c_find(_query(level, values), STUDY_ROOT_FIND):
                status = self._status(answer, "C-FIND")
                if status in _PENDING and identifier is not None:
                    found.append(identifier)
                elif status not in (_SUCCESS, *_PENDING):
                    raise PeerError(f"{self.name}: C-FIND failed (0x{status:04X})")
        return found

    def _follow(self, answers: Any, service: str) -> None:
        """Wait for the end of a retrieval."""
        for answer, _ in answers:
            status = self._status(answer, service)
            if status in _PENDING:
                continue
            failed = int(getattr(answer, "NumberOfFailedSuboperations", 0) or 0)
            if status != _SUCCESS or failed:
                raise PeerError(f"{self.name}: {service} failed (0x{status:04X}), {failed} instances did not come")

    def _status(self, answer: Dataset, service: str) -> int:
        if "Status" not in answer:
            hint = "; it must allow queries of this node, or set check: false" if service == "C-FIND" else ""
            raise PeerError(f"{self.name}: was lost during {service}{hint}")
        return cast(int, answer.Status)

    def _require(self, answer: Dataset, service: str) -> None:
        status = self._status(answer, service)
        if status != _SUCCESS:
            raise PeerError(f"{self.name}: {service} failed (0x{status:04X})")


def silence_libraries() -> None:
    """Keep pynetdicom, dicomweb-client and HTTP libraries from logging, because they quote names and UIDs."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "dicomweb_client", "urllib3", "retrying"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _query(level: str, values: dict[str, str]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(query, keyword, value)
    return query


def _reference(result: ResultObject) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = result.sop_class, result.sop_uid
    return item


def _read(path: Path) -> Any:
    with muted_pydicom():
        return dcmread(path)
