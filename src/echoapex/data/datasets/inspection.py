"""What a verifier finds: a bounded list of findings in plain words, and how many clips can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

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
