"""The findings of a data-set verifier: a bounded list in plain words, and the number of usable clips.

Clip files are checked too: present, contained in the list, readable, and of the size that the list states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from echoapex.domain import ClipHeader
from echoapex.domain.clip import Size
from echoapex.io.clip_source import ReadError, ReadFlag

T = TypeVar("T")

MOST_EXAMPLES = 10
"""Findings of one kind that are spelt out; the last of them says how many more there are."""
SAMPLE = 40
"""Files that are opened when not all are asked for."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """A part of the data set cannot be used."""
    WARNING = "warning"
    """It can be used, but it is not what was published, or not what it says."""
    NOTE = "note"
    """Worth knowing; nothing is wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that a verifier found.

    Attributes:
        severity: how bad it is.
        check: a stable name of the check.
        file: the file, relative to the root of the data set.
        problem: what is wrong.
        remedy: what a person can do about it.
        more: further findings of the same check that are not spelt out.
    """

    severity: Severity
    check: str
    file: str
    problem: str
    remedy: str
    more: int = 0


class Inspection:
    """One run of a verifier.

    Attributes:
        root: folder of the data set.
        every_file: open every file instead of a sample.
        counted: what was counted, for the summary (``clips``, ``patients``, ...).
        usable: clips that are there and described.
    """

    def __init__(
        self, root: Path, *, every_file: bool = False, on_file: Callable[[int, int], None] | None = None
    ) -> None:
        """Start a run.

        Args:
            root: folder of the data set.
            every_file: open every file instead of a sample of :data:`SAMPLE`.
            on_file: hears of each opened file: how many are done, of how many.
        """
        self.root = root
        self.every_file = every_file
        self.counted: dict[str, int] = {}
        self.usable = 0
        self._on_file = on_file
        self._examples: dict[str, list[Finding]] = {}
        self._numbers: dict[str, int] = {}

    def error(self, check: str, file: Path | str, problem: str, remedy: str) -> None:
        """A part cannot be used."""
        self._add(Finding(Severity.ERROR, check, self._named(file), problem, remedy))

    def warn(self, check: str, file: Path | str, problem: str, remedy: str) -> None:
        """Something is not as published, or not as it says."""
        self._add(Finding(Severity.WARNING, check, self._named(file), problem, remedy))

    def note(self, check: str, file: Path | str, problem: str, remedy: str) -> None:
        """Something worth knowing."""
        self._add(Finding(Severity.NOTE, check, self._named(file), problem, remedy))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Errors first, then warnings, then notes; at most :data:`MOST_EXAMPLES` of one check."""
        shown: list[Finding] = []
        for check, examples in self._examples.items():
            rest = self._numbers[check] - len(examples)
            shown += [*examples[:-1], replace(examples[-1], more=rest)]
        return tuple(sorted(shown, key=lambda finding: list(Severity).index(finding.severity)))

    @property
    def is_sound(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def chosen(self, files: Sequence[T]) -> Iterable[T]:
        """The files to open: all of them, or a sample spread evenly; ``on_file`` hears of each."""
        count = len(files) if self.every_file else min(SAMPLE, len(files))
        picked = [files[index * len(files) // count] for index in range(count)]
        for done, file in enumerate(picked):
            if self._on_file is not None:
                self._on_file(done, len(picked))
            yield file

    def compare_count(self, what: str, published: int, source: str, *, is_round: bool = False) -> None:
        """Hold a count in ``counted`` against the published one; a round one may differ by 1 %."""
        found = self.counted.get(what, 0)
        if abs(found - published) > (published // 100 if is_round else 0):
            self.warn(
                f"count of {what}",
                ".",
                f"{found} {what}, published are {'about ' if is_round else ''}{published} ({source})",
                "finish the download or unpack the whole archive; a part of the data set is not comparable with papers",
            )

    def _add(self, finding: Finding) -> None:
        key = f"{finding.severity} {finding.check}"
        self._numbers[key] = self._numbers.get(key, 0) + 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(finding)

    def _named(self, file: Path | str) -> str:
        path = Path(file)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(file)


@dataclass(frozen=True)
class ListedClip:
    """A clip that a list promises.

    Attributes:
        path: where it should be.
        size: ``(height, width)`` that the list gives, or None.
        frames: frame count that the list gives, or None.
    """

    path: Path
    size: Size | None = None
    frames: int | None = None


def check_presence(inspection: Inspection, listed: Iterable[ListedClip], extra: Iterable[Path]) -> list[ListedClip]:
    """Report listed clips that are not there, and files that no list names; returns the clips that are there.

    Args:
        inspection: where findings go; its count of usable clips grows by those that are there.
        listed: what the lists promise.
        extra: every clip file on disk.
    """
    there: list[ListedClip] = []
    known: set[Path] = set()
    for clip in listed:
        known.add(clip.path)
        if clip.path.exists():
            there.append(clip)
        else:
            inspection.error("missing file", clip.path, "is listed but not there", "download or unpack it again")
    for path in extra:
        if path not in known:
            inspection.warn(
                "unlisted file",
                path,
                "is there but in no list, so nothing is known of it",
                "remove it, or take the list of the same release",
            )
    inspection.usable += len(there)
    return there


def check_readable(inspection: Inspection, clips: Sequence[ListedClip]) -> None:
    """Decode clips (a sample unless every file was asked for) and hold them against the list."""
    for clip in inspection.chosen(clips):
        check_clip(inspection, clip)


def check_clip(inspection: Inspection, clip: ListedClip) -> None:
    """Decode one clip and hold it against the list."""
    try:
        header = decode_whole(clip.path)
    except ReadError as error:
        inspection.error("unreadable file", clip.path, error.reason, error.remedy)
        return
    if ReadFlag.TRUNCATED in header.flags:
        inspection.error("truncated file", clip.path, "ends before its last frame", "download it again")
    if clip.size is not None and header.size != clip.size:
        inspection.warn(
            "frame size",
            clip.path,
            f"is {header.size[1]} x {header.size[0]} pixels, the list says {clip.size[1]} x {clip.size[0]}",
            "take video and list of one release: points of the list are not pixels of this video",
        )
    if clip.frames is not None and header.frame_count != clip.frames:
        inspection.warn(
            "frame count",
            clip.path,
            f"has {header.frame_count} frames, the list says {clip.frames}",
            "take video and list of one release",
        )


def decode_whole(path: Path) -> ClipHeader:
    """Decode every frame of a clip of any format, one at a time; returns its header.

    Raises:
        ReadError: it cannot be read.
    """
    # the readers load slowly, and tables alone need none
    from echoapex.io.clip_file import open_clip
    from echoapex.io.study_files import find_clips

    # files of a public data set are called as it calls them
    for found in find_clips([path], keep_identifiers=True):
        if isinstance(found, ReadError):
            raise found
        opened = open_clip(found)
        for _ in opened.frames():
            pass
        return opened.header
    raise ReadError(path.name, "holds no clip", "download it again")
