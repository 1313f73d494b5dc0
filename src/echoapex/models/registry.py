"""Named sets of bundles: one encoder and the decoders trained on it.

A set is a directory ``<set>/{encoder,view_classification,segmentation,lv_wall,ejection_fraction}/``, each a bundle. A
task that was trained with an adapter has it in its folder ``adapter``, a bundle of its own. Two sets ship with the
package: ``open``, and the small ``phantom``. Others lie in the user's directory, ``$ECHOAPEX_HOME/bundles`` or
``~/.local/share/echoapex/bundles``, or anywhere if given by path. The default set is ``open``, or the one that the
environment variable ``ECHOAPEX_BUNDLE`` names. A set may hold only some of the bundles: the default set supplies the
others, together with the encoder that the default set uses for them.

A set can be imported from a directory or a zip file into the user's directory, offline and verified. Only the two known
files of each bundle are taken, so nothing in an archive can choose where it is written.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from echoapex.models.bundle import (
    CARD_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleError,
    Card,
    load_bundle,
    read_card,
    replace_directory,
    require_base_encoder,
    verify_bundle,
)
from echoapex.vocabulary import Application

DEFAULT_SET = "default"
"""Stands for the set that ``ECHOAPEX_BUNDLE`` names, and without it for ``SHIPPED_SET``."""
SHIPPED_SET = "open"
_SHIPPED_SETS = (SHIPPED_SET, "phantom")
ENCODER = "encoder"
ADAPTER = "adapter"
TASKS: tuple[str, ...] = tuple(application.value for application in Application)
_SHIPPED = Path(__file__).resolve().parents[1] / "weights"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_BUNDLE_FILES = (CARD_FILE, WEIGHTS_FILE)
_SIZE_LIMIT_BYTES = 8 << 30
_NOT_SHIPPED = "{}: the weights that ship with the package are missing; install it again"


@dataclass(frozen=True)
class TaskPaths:
    """The directories of one task's decoder and of its encoder."""

    task: str
    decoder: Path
    encoder: Path
    set_name: str

    @property
    def adapter(self) -> Path | None:
        """The adapter inside the decoder's bundle, or None."""
        path = self.decoder / ADAPTER
        return path if (path / CARD_FILE).is_file() else None

    def load(self) -> tuple[Bundle, Bundle, Bundle | None]:
        """Encoder, decoder and adapter, verified to belong together.

        Raises:
            BundleError: a bundle is damaged, or the decoder was trained on another encoder or with another adapter.
        """
        encoder, decoder = load_bundle(self.encoder), load_bundle(self.decoder)
        if decoder.card.task != self.task:
            raise BundleError(f"{self.decoder}: holds {decoder.card.task!r}, not {self.task!r}; import the set again")
        decoder.require_encoder(encoder)
        adapter = load_bundle(self.adapter) if self.adapter is not None else None
        decoder.require_adapter(adapter)
        if adapter is not None:
            adapter.require_encoder(encoder)
        return encoder, decoder, adapter


@dataclass(frozen=True)
class SetPaths:
    """A set of bundles on disk; ``fallback`` supplies missing bundles."""

    name: str
    directory: Path
    fallback: SetPaths | None = None

    @property
    def bundles(self) -> dict[str, Path]:
        """The set's own bundles by name, the encoder first."""
        paths = {name: self.directory / name for name in (ENCODER, *TASKS)}
        return {name: path for name, path in paths.items() if (path / CARD_FILE).is_file()}

    @property
    def encoder(self) -> Path:
        """The encoder for the tasks of this set.

        Raises:
            BundleError: neither this set nor the default one has an encoder, or this one's has lost its card.
        """
        self._require_card(ENCODER)
        own = self.bundles.get(ENCODER)
        if own is not None:
            return own
        if self.fallback is None:
            raise BundleError(f"{self.directory}: the set has no encoder; import a complete set")
        return self.fallback.encoder

    def find_task(self, task: str) -> TaskPaths:
        """The decoder for ``task`` and its encoder, from this set or from the default one.

        Raises:
            BundleError: no set has the task, or this one's decoder has lost its card.
        """
        self._require_card(task)
        decoder = self.bundles.get(task)
        if decoder is not None:
            return TaskPaths(task, decoder, self.encoder, self.name)
        if self.fallback is None:
            known = ", ".join(name for name in self.bundles if name != ENCODER) or "none"
            raise BundleError(f"{self.directory}: the set has no decoder for {task!r} (it has: {known})")
        return self.fallback.find_task(task)

    def find_lost_cards(self) -> list[Path]:
        """Bundle folders that have files but no card, so they cannot be used."""
        places = [self.directory / name for name in (ENCODER, *TASKS)]
        places += [self.directory / task / ADAPTER for task in TASKS]
        return [place for place in places if not (place / CARD_FILE).is_file() and place.is_dir() and _holds_any(place)]

    def _require_card(self, name: str) -> None:
        """Refuse a bundle without a card; otherwise the default set would silently replace it."""
        lost = [place for place in self.find_lost_cards() if place.relative_to(self.directory).parts[0] == name]
        if lost:
            raise BundleError(f"{lost[0]}: its {CARD_FILE} is missing; import the set again")


@dataclass(frozen=True)
class BundleCheck:
    """Result of verifying one bundle; ``problem`` is empty if the bundle is valid."""

    name: str
    directory: Path
    card: Card | None
    problem: str = ""


def user_directory() -> Path:
    """The directory of imported sets; it may not exist yet."""
    home = os.environ.get("ECHOAPEX_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".local" / "share" / "echoapex") / "bundles"


def default_set_name() -> str:
    """Name or directory of the default set."""
    return os.environ.get("ECHOAPEX_BUNDLE", "").strip() or SHIPPED_SET


def find_set(name_or_path: str | Path = DEFAULT_SET) -> SetPaths:
    """Find a set by its name or its directory.

    Raises:
        BundleError: there is no such set.
    """
    if name_or_path == DEFAULT_SET:
        name_or_path = default_set_name()
    directory = _place_of(name_or_path)
    found = SetPaths(directory.name, directory, default_set(may_be_absent=True))
    if not found.bundles and not found.find_lost_cards():
        if str(name_or_path) in _SHIPPED_SETS:
            raise BundleError(_NOT_SHIPPED.format(_SHIPPED / name_or_path))
        known = ", ".join(known_set.name for known_set in list_sets()) or "none"
        raise BundleError(
            f"{name_or_path}: no such set of bundles (known: {known}); `echoapex models import PATH` adds one"
        )
    return found


def _place_of(name_or_path: str | Path) -> Path:
    """The directory of a set; that of a name without a set is the name itself."""
    directory = Path(name_or_path).expanduser()
    if not is_set_name(str(name_or_path)):
        return directory
    places = (_SHIPPED / directory, user_directory() / directory, directory)
    return next((place for place in places if SetPaths("", place).bundles), directory)


def list_sets() -> list[SetPaths]:
    """All sets with a name, the default one first."""
    default = default_set(may_be_absent=True)
    found: dict[str, SetPaths] = {}
    for place in (_SHIPPED, user_directory()):
        for directory in sorted(place.iterdir()) if place.is_dir() else []:
            candidate = SetPaths(directory.name, directory, default)
            if is_set_name(candidate.name) and candidate.bundles:
                found.setdefault(candidate.name, candidate)
    return sorted(found.values(), key=lambda paths: (paths.name != default_set_name(), paths.name != SHIPPED_SET))


def verify_set(paths: SetPaths) -> list[BundleCheck]:
    """Check every digest of a set, and that each decoder was trained on its encoder."""
    return list(_check_bundles(paths))


def is_set_name(text: str) -> bool:
    """Whether ``text`` can name a set: lower-case letters, digits, dot, dash, underscore."""
    return _NAME.fullmatch(text) is not None


def default_set(*, may_be_absent: bool = False) -> SetPaths:
    """The set that supplies what another one lacks: the default set, or ``SHIPPED_SET`` where that is incomplete.

    Raises:
        BundleError: it is not there, and ``may_be_absent`` is not given.
    """
    directory = _place_of(default_set_name())
    chosen = SetPaths(directory.name, directory)
    shipped = SetPaths(SHIPPED_SET, _SHIPPED / SHIPPED_SET)
    if len(chosen.bundles) == 1 + len(TASKS) or not shipped.bundles:
        if not may_be_absent and not chosen.bundles:
            raise BundleError(_NOT_SHIPPED.format(chosen.directory))
        return chosen
    return shipped


def find_outlining_segmentation(directory: Path, card: Card) -> Path | None:
    """The segmentation bundle of the same set whose masks a bundle of view classification reads; None if it reads none.

    Raises:
        BundleError: it is missing, or not the one on which the branch of masks was trained.
    """
    taught_with = card.architecture.get("segmentation_sha256")
    if taught_with is None:
        return None
    place = directory.parent / Application.SEGMENTATION.value
    beside = read_card(place)
    if (beside.files.get(WEIGHTS_FILE), beside.adapter_sha256) != (taught_with, card.adapter_sha256):
        raise BundleError(
            f"{directory}: reads the outlines of another segmentation ({str(taught_with)[:12]}) than {place} holds; "
            "import the whole set again"
        )
    return place


def _holds_any(place: Path) -> bool:
    return any(not path.name.startswith(".") for path in place.iterdir())


def _check_bundles(paths: SetPaths) -> Iterator[BundleCheck]:
    for place in paths.find_lost_cards():
        name = place.relative_to(paths.directory).as_posix()
        yield BundleCheck(name, place, None, f"{place}: its {CARD_FILE} is missing; import the set again")
    for name, directory in paths.bundles.items():
        try:
            card = verify_bundle(directory)
            if (card.task or card.kind) != name:
                raise BundleError(f"{directory}: holds {card.task or card.kind!r}, not {name!r}; import the set again")
            if card.kind == "task":
                require_base_encoder(directory, card, paths.encoder, read_card(paths.encoder))
                _check_adapter(paths, directory, card)
                find_outlining_segmentation(directory, card)
        except BundleError as error:
            yield BundleCheck(name, directory, None, str(error))
        else:
            yield BundleCheck(name, directory, card)


def _check_adapter(paths: SetPaths, directory: Path, card: Card) -> None:
    """Check the adapter of a task bundle: present if the card names one, undamaged, and for the same encoder."""
    place = directory / ADAPTER
    adapter = verify_bundle(place) if (place / CARD_FILE).is_file() else None
    if card.adapter_sha256 != (adapter.files[WEIGHTS_FILE] if adapter else None):
        raise BundleError(f"{directory}: its adapter is missing or another one; import the set again")
    if adapter is not None:
        require_base_encoder(place, adapter, paths.encoder, read_card(paths.encoder))


def import_set(source: Path, name: str | None = None, *, replace: bool = False) -> SetPaths:
    """Import a set, so that it can be used by name.

    Args:
        source: a directory, or a ``.zip`` of one; the bundles lie at its top or one level below.
        name: name of the imported set; by default the name of the directory or file.
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
    if name in (DEFAULT_SET, *_SHIPPED_SETS):
        raise BundleError(f"{name!r} is a set that ships with the package; give another name with --name")
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
    """Like :func:`_wanted`; archives with paths that lead outside, links or encryption are refused."""
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
