"""The DICOMweb client: find (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS) at a server over HTTP or HTTPS.

Instances are fetched one by one, in the encoding in which they are stored. So a lost connection costs one instance, and
memory holds one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.header import text_of
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.serve.dicom_client import PeerError, silence_libraries
from echoapex.serve.instance_file import ANALYSED_CLASSES, InstanceHeader, read_instance_header
from echoapex.serve.ledger import ResultObject
from echoapex.serve.node_config import WebPeer, is_loopback, secret_from

_ADDRESS = re.compile(r"(dicomweb|https?)://?([^/].*?)/studies/([0-9.]{1,64})/?", re.IGNORECASE)
_FOR_GOOD = (400, 401, 403, 404, 405, 406, 415)
_DICOM = (("application/dicom", "*"),)
_SILENT_S = 60.0


@dataclass(frozen=True)
class StudyAddress:
    """A study at a DICOMweb server.

    Attributes:
        server: URL of the services.
        study_uid: the study.
    """

    server: str
    study_uid: str


def parse_study_address(text: str) -> StudyAddress | None:
    """The study that ``dicomweb://HOST/PREFIX/studies/UID`` names, also with ``https``; None where it names none.

    ``dicomweb`` means HTTPS, and HTTP on this machine itself (loopback).

    >>> parse_study_address("dicomweb://pacs.example/dicom-web/studies/1.2.3").server
    'https://pacs.example/dicom-web'
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return None
    scheme, place, study_uid = found.group(1).lower(), found.group(2), found.group(3)
    if scheme == "dicomweb":
        scheme = "http" if is_loopback(urlsplit(f"//{place}").hostname or "") else "https"
    return StudyAddress(f"{scheme}://{place}", study_uid)


class _Session(requests.Session):
    """Trusts the authority that it was given; requests would let an environment variable go first."""

    def __init__(self, ca: Path | None) -> None:
        super().__init__()
        self._ca = ca

    def merge_environment_settings(self, *arguments: Any, **options: Any) -> Any:
        """As in requests, but with the given authority."""
        settings = super().merge_environment_settings(*arguments, **options)
        return settings if self._ca is None else {**settings, "verify": str(self._ca)}


def open_session(peer: WebPeer) -> requests.Session:
    """A session that shows the name and password of the peer, and trusts its authority.

    Raises:
        ConfigError: the environment lacks the password.
    """
    silence_libraries()
    session = _Session(peer.ca)
    if peer.user:
        session.auth = (peer.user, secret_from(peer.password_env))
    if peer.token_env:
        session.headers["Authorization"] = f"Bearer {secret_from(peer.token_env)}"
    return session


@contextmanager
def one_line_errors(name: str, what: str) -> Iterator[None]:
    """Turn whatever goes wrong in a request into a line without names.

    Args:
        name: what messages call the server.
        what: was asked for.

    Raises:
        PeerError: the request failed.
    """
    try:
        yield
    except PeerError:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise PeerError(f"{name}: {what} failed (HTTP {status})", for_good=status in _FOR_GOOD) from None
    except requests.exceptions.SSLError:
        raise PeerError(f"{name}: its certificate is not trusted; check ca and host name") from None
    except requests.RequestException as error:
        raise PeerError(f"{name}: cannot be reached or was lost ({type(error).__name__})") from None
    except Exception as error:  # an answer that is no DICOMweb: its text may hold names
        raise PeerError(f"{name}: {what} got no DICOMweb answer ({type(error).__name__})") from None


class WebClient:
    """What this node asks of one DICOMweb server.

    Args:
        name: what messages call the server.
        peer: where it is, and who asks.

    Raises:
        ConfigError: the environment lacks the password.
    """

    def __init__(self, name: str, peer: WebPeer) -> None:
        self.name = name
        self._client = DICOMwebClient(peer.url.rstrip("/"), session=open_session(peer), timeout=peer.timeout_s)
        self._client.set_http_retry_params(retry=False)

    def echo(self) -> None:
        """Verify that the server answers a query.

        Raises:
            PeerError: it does not.
        """
        with one_line_errors(self.name, "the query"):
            self._client.search_for_studies(limit=1)

    def find_studies(self, **filters: str) -> list[dict[str, str]]:
        """The studies that match: UID, date, modalities and number of instances; no names.

        Raises:
            PeerError: the query failed.
        """
        shown = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
        with one_line_errors(self.name, "the query"):
            rows = self._client.search_for_studies(fields=list(shown), search_filters=filters, get_remaining=True)
        found = [Dataset.from_json(row) for row in rows]
        return [{keyword: text_of(one, keyword) for keyword in shown} for one in found]

    def has(self, result: ResultObject) -> bool:
        """Whether the server has an object.

        Raises:
            PeerError: the query failed.
        """
        with one_line_errors(self.name, "the query"):
            rows = self._client.search_for_instances(
                result.study_uid, search_filters={"SOPInstanceUID": result.sop_uid}
            )
        return any(text_of(Dataset.from_json(row), "SOPInstanceUID") == result.sop_uid for row in rows)

    def retrieve(
        self,
        study_uid: str,
        keep: Callable[[bytes, InstanceHeader], object],
        *,
        skip: Callable[[str], bool] = lambda sop_uid: False,
    ) -> int:
        """Fetch the images of a study; returns how many were fetched.

        Args:
            study_uid: the study.
            keep: takes each instance: the whole file, and its identity.
            skip: which instances, by UID, need not be fetched.

        Raises:
            PeerError: the study is not there, or an instance did not come.
        """
        with one_line_errors(self.name, "the query"):
            rows = self._client.search_for_instances(study_uid, fields=["SOPClassUID"], get_remaining=True)
        listed = [Dataset.from_json(row) for row in rows]
        if not listed:
            raise PeerError(f"{self.name}: has no such study", for_good=True)
        fetched = 0
        for one in listed:
            sop_uid, series_uid = text_of(one, "SOPInstanceUID"), text_of(one, "SeriesInstanceUID")
            if text_of(one, "SOPClassUID") not in ANALYSED_CLASSES or skip(sop_uid):
                continue
            with one_line_errors(self.name, "an instance"), muted_pydicom():
                dataset = self._client.retrieve_instance(study_uid, series_uid, sop_uid, media_types=_DICOM)
                file = BytesIO()
                dataset.save_as(file, enforce_file_format=True)
            header = read_instance_header(file.getvalue())
            if header is None or (header.study_uid, header.sop_uid) != (study_uid, sop_uid):
                raise PeerError(f"{self.name}: sent a damaged or another instance")
            keep(file.getvalue(), header)
            fetched += 1
        return fetched

    def store(
        self, results: Sequence[ResultObject], begin: Callable[[ResultObject], None]
    ) -> Iterator[tuple[ResultObject, PeerError | None]]:
        """Send objects, one request for each.

        Args:
            results: the objects.
            begin: is called before each is sent.

        Yields:
            Each object, and why the server refused it (None: the server has it).

        Raises:
            PeerError: the server cannot be reached, or was lost.
        """
        for one in results:
            with muted_pydicom():
                dataset = dcmread(one.path)
            begin(one)
            try:
                with one_line_errors(self.name, "storing"), muted_pydicom():
                    answer: Any = self._client.store_instances([dataset], study_instance_uid=one.study_uid)
            except PeerError as error:
                if not error.for_good:
                    raise
                yield one, error
                continue
            failed = answer.get("FailedSOPSequence")
            yield one, PeerError(f"{self.name}: refused an object", for_good=True) if failed else None


def fetch_study(address: StudyAddress, folder: Path) -> int:
    """Fetch the images of a study into a folder; returns how many.

    User and password may lie in ``~/.netrc``; a private authority in ``REQUESTS_CA_BUNDLE``.

    Raises:
        PeerError: the server cannot be reached, or has no images of the study.
    """
    host = urlsplit(address.server).hostname or "the server"
    client = WebClient(host, WebPeer(url=address.server, timeout_s=_SILENT_S))
    number = 0

    def keep(content: bytes, header: InstanceHeader) -> None:
        nonlocal number
        number += 1
        write_bytes_atomically(folder / f"{number:06d}.dcm", content)

    fetched = client.retrieve(address.study_uid, keep)
    if not fetched:
        raise PeerError(f"{host}: the study has no ultrasound images", for_good=True)
    return fetched
