"""Bring a set of bundles from a directory or a zip file into the user's directory, offline and verified.

Only the two files of each bundle are taken, and only under their known names: nothing in an archive can choose where
it is written.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from echoapex.models.bundle import CARD_FILE, WEIGHTS_FILE, BundleError, replace_directory
from echoapex.models.registry import (
    ADAPTER,
    DEFAULT_SET,
    ENCODER,
    TASKS,
    SetPaths,
    default_set,
    find_set,
    is_set_name,
    user_directory,
    verify_set,
)

_BUNDLE_FILES = (CARD_FILE, WEIGHTS_FILE)
_SIZE_LIMIT_BYTES = 8 << 30


def import_set(source: Path, name: str | None = None, *, replace: bool = False) -> SetPaths:
    """Import a set, so that it can be used by name.

    Args:
        source: a directory, or a ``.zip`` of one; the bundles lie at its top or one level below.
        name: what the set is called from now on; by default the name of the directory or file.
        replace: whether a set of that name may be replaced.

    Raises:
        BundleError: the source cannot be read, holds no bundle, a digest is wrong, or the name is taken or not valid.
    """
    name = name or (source.stem if source.suffix.lower() == ".zip" else source.resolve().name).lower()
    target = user_directory() / name
    _check_name(name, target, replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    draft = workshop / name
    try:
        draft.mkdir()
        if source.is_dir():
            _copy_directory(source, draft)
        else:
            _unpack_zip(source, draft)
        _check_draft(source, draft)
        replace_directory(draft, target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return find_set(name)


def _check_name(name: str, target: Path, replace: bool) -> None:
    if not is_set_name(name):
        raise BundleError(
            f"{name!r} cannot name a set; use lower-case letters, digits, '.', '-' and '_', for example --name my-set"
        )
    if name == DEFAULT_SET:
        raise BundleError(f"{name!r} is the set that ships with the package; give another name with --name")
    if target.exists() and not replace:
        raise BundleError(f"{target}: a set of that name exists; give --replace or another --name")


def _check_draft(source: Path, draft: Path) -> None:
    """Refuse a draft without bundles, or with a damaged one."""
    checks = verify_set(SetPaths(draft.name, draft, default_set(may_be_absent=True)))
    if not checks:
        raise BundleError(f"{source}: holds no bundle; expected {ENCODER}/ or one of {', '.join(TASKS)}")
    problems = [check.problem.replace(str(draft), str(source)) for check in checks if check.problem]
    if problems:
        raise BundleError("\n".join(problems))


def _wanted(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Bundle and file named by a relative path, at the top or one level below; None for anything else.

    The adapter of a task is the bundle ``<task>/adapter``.
    """
    if len(parts) not in (2, 3, 4) or parts[-1] not in _BUNDLE_FILES:
        return None
    if len(parts) > 2 and parts[-2] == ADAPTER and parts[-3] in TASKS:
        return f"{parts[-3]}/{ADAPTER}", parts[-1]
    if len(parts) < 4 and parts[-2] in (ENCODER, *TASKS):
        return parts[-2], parts[-1]
    return None


def _copy_directory(source: Path, draft: Path) -> None:
    found = {
        path: path.relative_to(source).parts for pattern in ("*/*", "*/*/*", "*/*/*/*") for path in source.glob(pattern)
    }
    members = {path: wanted for path, parts in found.items() if (wanted := _wanted(parts)) and path.is_file()}
    _refuse_doubles(source, list(members.values()))
    for path, (bundle, file) in members.items():
        (draft / bundle).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / bundle / file)


def _unpack_zip(source: Path, draft: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            members = {entry: wanted for entry in archive.infolist() if (wanted := _wanted_entry(source, entry))}
            _refuse_doubles(source, list(members.values()))
            size = sum(entry.file_size for entry in members)
            if size > _SIZE_LIMIT_BYTES:
                raise BundleError(f"{source}: would unpack to {size >> 30} GiB; no set of bundles is so large")
            for entry, (bundle, file) in members.items():
                (draft / bundle).mkdir(parents=True, exist_ok=True)
                # zipfile reads no more than the size in the header, and checks the CRC at the end
                with archive.open(entry) as packed, (draft / bundle / file).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except FileNotFoundError as error:
        raise BundleError(f"{source}: does not exist; give a directory or a .zip with bundles") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise BundleError(f"{source}: is no readable zip file ({error}); fetch it again") from error
    except OSError as error:
        raise BundleError(f"{source}: cannot be unpacked ({error.strerror or error})") from error


def _wanted_entry(source: Path, entry: zipfile.ZipInfo) -> tuple[str, str] | None:
    """As :func:`_wanted`; whole archives with paths that lead outside, links or encryption are refused."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise BundleError(f"{source}: the entry {entry.filename!r} leads outside the archive; do not trust this file")
    wanted = None if entry.is_dir() else _wanted(path.parts)
    if wanted and stat.S_ISLNK(entry.external_attr >> 16):
        raise BundleError(f"{source}: the entry {entry.filename!r} is a link; pack the files themselves")
    if wanted and entry.flag_bits & 0x1:
        raise BundleError(f"{source}: is encrypted; unpack it first and import the directory")
    return wanted


def _refuse_doubles(source: Path, members: list[tuple[str, str]]) -> None:
    if len(set(members)) != len(members):
        raise BundleError(f"{source}: holds a bundle twice; give the directory of one set")
