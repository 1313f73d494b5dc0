"""What ``--studies`` names: results of ``echoapex analyze`` are taken over, studies without results are queued.

Files stay where they are. Clips that share a folder form one study where they name the same one. A study at a DICOMweb
server is fetched once.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from echoapex.io.archive import is_hidden
from echoapex.io.clip_file import ClipFile, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.study_files import find_clips
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.dicomweb import fetch_study, parse_study_address
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.work_queue import is_analysis

_LOG = logging.getLogger("echoapex.page")
_KEY_BYTES = 8


class FoundStudies:
    """Adds what is found to the list.

    Args:
        inputs: where a fetched study goes.
        studies: the list.
        secret: key of the digests by which a study is known when it is found again.
    """

    def __init__(self, inputs: Path, studies: StudyList, secret: bytes) -> None:
        self._inputs = inputs
        self._studies = studies
        self._secret = secret

    def take_over(self, place: str, stop: threading.Event) -> int:
        """Add the studies below a folder, or at an address; returns how many are new."""
        if parse_study_address(place) is not None:
            return self._fetch(place)
        new = 0
        for inputs, results in self._walk(Path(place)):
            if stop.is_set():
                break
            about = "\n".join(str(path) for path in (results, *inputs) if path is not None)
            new += self._studies.add(inputs, origin=self._digest(about), results=results) is not None
        return new

    def _digest(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def _walk(self, folder: Path) -> Iterator[tuple[list[Path], Path | None]]:
        """The files of each study below a folder, and its results where it has some."""
        if is_analysis(folder):
            yield [], folder
            return
        try:
            below = sorted(folder.iterdir())
        except OSError as error:
            _LOG.warning("a folder of studies cannot be read (%s)", error.strerror)
            return
        yield from self._group([path for path in below if path.is_file()])
        for path in below:
            if path.is_dir() and not path.is_symlink() and not is_hidden(path.name):
                yield from self._walk(path)

    def _group(self, files: list[Path]) -> Iterator[tuple[list[Path], Path | None]]:
        """The clips of one folder, by the study that they name; an archive is a study of its own."""
        groups: dict[str, list[Path]] = {}
        for path in files:
            found = [item for item in find_clips([path.parent / path.name]) if isinstance(item, ClipFile)]
            if not found:
                continue
            group = f"archive {path.name}" if found[0].is_packed else _study_of(found[0])
            groups.setdefault(group, []).append(path)
        for paths in groups.values():
            yield paths, None

    def _fetch(self, address: str) -> int:
        known = parse_study_address(address)
        if known is None or self._studies.knows(self._digest(address)):
            return 0
        key = secrets.token_hex(_KEY_BYTES)
        folder = self._inputs / key
        folder.mkdir(parents=True, mode=0o700)
        try:
            fetch_study(known, folder)
        except PeerError as error:
            shutil.rmtree(folder, ignore_errors=True)
            _LOG.error("%s", error)
            return 0
        self._studies.add([folder], origin=self._digest(address), key=key)
        return 1


def _study_of(file: ClipFile) -> str:
    """The pseudonym of the study that a clip names; empty where it names none or cannot be read."""
    try:
        with closing(open_clip(file)) as source:
            return source.header.source.get("study", "")
    except ReadError:
        return ""
