"""Input and output of an analysis that lie elsewhere: studies at a DICOMweb server, folders in an object store.

Input is fetched into a temporary folder, analysed like any folder, and deleted. Output in a store is fetched first, so
that finished clips are not done again; what is finished is sent there every minute, and at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from echoapex.cli.console import ERRORS, ExitCode, complain
from echoapex.io.object_store import ObjectFolder, ObjectStoreError, parse_store_url

_SEND_EVERY_S = 60.0
_NODE_NEEDS = ("dicomweb_client", "pynetdicom", "sqlalchemy")
_BAD_ADDRESS = "an address must end with /studies/UID, as in https://HOST/dicom-web/studies/1.2.3"


def is_remote(path: Path | None) -> bool:
    """Whether an argument names something at a server; a path has one slash where an address has two."""
    return path is not None and (_is_address(path) or parse_store_url(str(path)) is not None)


def remote_mistake(paths: Sequence[Path], out: Path | None, names: Path | None, *, keeps_names: bool) -> str:
    """What is wrong with arguments that name something at a server; empty where nothing is.

    Args:
        paths: what is to be analysed.
        out: where the results go.
        names: the file of the map of names.
        keeps_names: whether results hold the names of files, so that no map is needed.
    """
    if out is not None and _is_address(out):
        return "results go to a folder or to s3://bucket/folder, not to a DICOMweb server"
    if out is not None and is_remote(out) and names is None and not keeps_names:
        return "results in a store need --names FILE, a file on this machine that is kept secret"
    if any(map(_is_address, paths)) and any(find_spec(name) is None for name in _NODE_NEEDS):
        return "DICOMweb needs more packages: pip install 'echoapex[node]'"
    return ""


def analyze_remote(
    paths: Sequence[Path], out: Path | None, analyze: Callable[[tuple[Path, ...], Path | None], int], *, quiet: bool
) -> int:
    """Fetch what lies elsewhere, analyse it, and send the results to where they belong.

    Args:
        paths: files, folders, studies at a DICOMweb server, or folders in an object store.
        out: a folder, or one in an object store.
        analyze: analyses what lies on this machine, and returns the exit code.
        quiet: show errors only.
    """
    from echoapex.io.temporary_files import TemporaryFolder

    with ExitStack() as closing:
        fetched = TemporaryFolder()
        closing.callback(fetched.delete)
        try:
            places = tuple(_bring(path, fetched.folder / f"input-{n}", quiet=quiet) for n, path in enumerate(paths))
            url = parse_store_url(str(out)) if out is not None else None
            if url is None:
                return analyze(places, out)
            folder = fetched.folder / "results"
            folder.mkdir()
            with _sent_to(ObjectFolder(url), folder):
                return analyze(places, folder)
        except _RemoteError as error:
            complain("analyze", str(error))
            return ExitCode.USAGE if error.is_usage else ExitCode.NOTHING_ANALYSED
        except ObjectStoreError as error:
            complain("analyze", str(error))
            return ExitCode.USAGE
        except OSError as error:
            complain("analyze", f"the files cannot be kept here ({error.strerror}); set TMPDIR to another disk")
            return ExitCode.USAGE


class _RemoteError(Exception):
    """Something at a server that did not come."""

    def __init__(self, message: str, *, is_usage: bool = False) -> None:
        super().__init__(message)
        self.is_usage = is_usage


def _is_address(path: Path) -> bool:
    return str(path).lower().startswith(("dicomweb:/", "http:/", "https:/"))


def _bring(path: Path, folder: Path, *, quiet: bool) -> Path:
    """The path itself, or the folder into which it was fetched."""
    url = parse_store_url(str(path))
    if url is None and not _is_address(path):
        return path
    folder.mkdir()
    count = _fetch_study(path, folder) if url is None else ObjectFolder(url).download(folder)
    if not count:
        raise _RemoteError("there is nothing at this address of the store; check bucket and folder")
    if not quiet:
        ERRORS.print(f"{count} {'images' if url is None else 'files'} fetched", markup=False)
    return folder


def _fetch_study(path: Path, folder: Path) -> int:
    from echoapex.serve.dicom_client import PeerError
    from echoapex.serve.dicomweb import fetch_study, parse_study_address

    address = parse_study_address(str(path))
    if address is None:
        raise _RemoteError(_BAD_ADDRESS, is_usage=True)
    try:
        return fetch_study(address, folder)
    except PeerError as error:
        raise _RemoteError(str(error)) from error


@contextmanager
def _sent_to(store: ObjectFolder, folder: Path) -> Iterator[None]:
    """Fetch earlier results, send new ones every minute, and at the end what is left; delete what is out of date."""
    store.download(folder)
    done = threading.Event()

    def send_regularly() -> None:
        while not done.wait(_SEND_EVERY_S):
            try:
                store.upload(folder)
            except ObjectStoreError:
                continue  # the end of the analysis tries again, and says so if it fails

    sender = threading.Thread(target=send_regularly, daemon=True)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()
        store.upload(folder)
        store.remove_missing(folder)
