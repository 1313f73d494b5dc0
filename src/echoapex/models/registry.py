"""Named sets of bundles: one encoder and the decoders trained on it.

A set is a directory ``<set>/{encoder,view_classification,segmentation,lv_wall,ejection_fraction}/``, each a bundle; a
task that was trained with an adapter has it in its folder ``adapter``, a bundle of its own. The
default set ships with the package. Others lie in the user's directory, ``$ECHOAPEX_HOME/bundles`` or
``~/.local/share/echoapex/bundles``, or anywhere if given by path. A set may hold some of the bundles only: what it
lacks comes from the default set, together with the encoder that the default set uses for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from echoapex.models.bundle import (
    CARD_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleError,
    Card,
    load_bundle,
    read_card,
    require_base_encoder,
    verify_bundle,
)
from echoapex.vocabulary import Application

DEFAULT_SET = "phantom"
ENCODER = "encoder"
ADAPTER = "adapter"
TASKS: tuple[str, ...] = tuple(application.value for application in Application)
_SHIPPED = Path(__file__).resolve().parents[1] / "weights"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class TaskPaths:
    """Where one task's decoder lies, and the encoder that belongs to it."""

    task: str
    decoder: Path
    encoder: Path
    set_name: str

    @property
    def adapter(self) -> Path | None:
        """The adapter that lies within the decoder's bundle, if there is one."""
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
    """A set of bundles on disk; ``fallback`` gives what it lacks."""

    name: str
    directory: Path
    fallback: SetPaths | None = None

    @property
    def bundles(self) -> dict[str, Path]:
        """The bundles that lie in the set itself, by name, the encoder first."""
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
        """The decoder for ``task`` and its own encoder, from this set or else from the default one.

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
        """Folders of bundles that hold something and no card: members of the set that cannot be used."""
        places = [self.directory / name for name in (ENCODER, *TASKS)]
        places += [self.directory / task / ADAPTER for task in TASKS]
        return [place for place in places if not (place / CARD_FILE).is_file() and place.is_dir() and _holds_any(place)]

    def _require_card(self, name: str) -> None:
        """Refuse a member without its card, which the default set's would otherwise replace in silence."""
        lost = [place for place in self.find_lost_cards() if place.relative_to(self.directory).parts[0] == name]
        if lost:
            raise BundleError(f"{lost[0]}: its {CARD_FILE} is missing; import the set again")


@dataclass(frozen=True)
class BundleCheck:
    """What a verification found of one bundle; ``problem`` is empty when it is sound."""

    name: str
    directory: Path
    card: Card | None
    problem: str = ""


def user_directory() -> Path:
    """Where imported sets lie; it may not exist yet."""
    home = os.environ.get("ECHOAPEX_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".local" / "share" / "echoapex") / "bundles"


def find_set(name_or_path: str | Path = DEFAULT_SET) -> SetPaths:
    """The set with that name, or in that directory.

    Raises:
        BundleError: there is no such set.
    """
    if name_or_path == DEFAULT_SET:
        return default_set()
    directory = Path(name_or_path).expanduser()
    if is_set_name(str(name_or_path)):
        places = (user_directory() / directory, _SHIPPED / directory, directory)
        directory = next((place for place in places if SetPaths("", place).bundles), directory)
    found = SetPaths(directory.name, directory, default_set(may_be_absent=True))
    if not found.bundles and not found.find_lost_cards():
        known = ", ".join(known_set.name for known_set in list_sets()) or "none"
        raise BundleError(
            f"{name_or_path}: no such set of bundles (known: {known}); `echoapex models import PATH` adds one"
        )
    return found


def list_sets() -> list[SetPaths]:
    """All sets that are known by name, the default one first."""
    default = default_set(may_be_absent=True)
    found = [default] if default.bundles else []
    for place in (_SHIPPED, user_directory()):
        for directory in sorted(place.iterdir()) if place.is_dir() else []:
            candidate = SetPaths(directory.name, directory, default)
            if candidate.name != DEFAULT_SET and is_set_name(candidate.name) and candidate.bundles:
                found.append(candidate)
    return found


def verify_set(paths: SetPaths) -> list[BundleCheck]:
    """Check every digest of a set, and that each decoder was trained on the encoder it will be used with."""
    return list(_check_bundles(paths))


def is_set_name(text: str) -> bool:
    """Whether ``text`` can name a set: lower-case letters, digits, dot, dash, underscore."""
    return _NAME.fullmatch(text) is not None


def default_set(*, may_be_absent: bool = False) -> SetPaths:
    """The set that ships with the package.

    Raises:
        BundleError: it is not there, and ``may_be_absent`` is not given.
    """
    default = SetPaths(DEFAULT_SET, _SHIPPED / DEFAULT_SET)
    if not may_be_absent and not default.bundles:
        raise BundleError(f"{default.directory}: the weights that ship with the package are missing; install it again")
    return default


def find_outlining_segmentation(directory: Path, card: Card) -> Path | None:
    """The segmentation bundle of the same set whose outlines a bundle of view classification reads, if it reads any.

    Raises:
        BundleError: it is missing, or not the one that the outlines were learnt from.
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
    """Check the adapter of a task bundle: there when the card names one, whole, and for the same encoder."""
    place = directory / ADAPTER
    adapter = verify_bundle(place) if (place / CARD_FILE).is_file() else None
    if card.adapter_sha256 != (adapter.files[WEIGHTS_FILE] if adapter else None):
        raise BundleError(f"{directory}: its adapter is missing or another one; import the set again")
    if adapter is not None:
        require_base_encoder(place, adapter, paths.encoder, read_card(paths.encoder))
