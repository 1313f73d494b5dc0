"""The journal of a run: one JSON line per entry, the source of truth for every curve."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Listener(Protocol):
    """Who is told what is written into the journal."""

    def tell(self, entry: Mapping[str, Any]) -> None:
        """One entry, as it stands in the journal."""


class Journal:
    """Appends entries to ``journal.jsonl``; lines beyond the step a run resumes from are dropped."""

    def __init__(self, directory: Path, resume_step: int = 0, listeners: Sequence[Listener] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "journal.jsonl"
        self._listeners = listeners
        self._keep_before(resume_step)

    def write(self, step: int, **values: Any) -> None:
        """Append one entry."""
        entry = {"step": step, "time": round(time.time(), 1), **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        for listener in self._listeners:
            listener.tell(entry)

    def scores(self) -> list[dict[str, float]]:
        """The figures of all validations so far."""
        return [entry["scores"] for entry in read_journal(self.path) if "scores" in entry]

    def go_back(self, step: int, number: int, reason: str) -> None:
        """Drop what came after ``step`` updates, keep it in a file of its own, and say why."""
        self.path.with_name(f"journal-before-rewind-{number}.jsonl").write_bytes(self.path.read_bytes())
        self._keep_before(step)
        self.write(step - 1, rewind=number, reason=reason)

    def _keep_before(self, step: int) -> None:
        kept = [entry for entry in read_journal(self.path) if int(entry["step"]) < step]
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")


class Clock:
    """How long a run has gone on, and how many examples a second it takes."""

    def __init__(self) -> None:
        self._started = self._read = time.monotonic()
        self._examples = 0

    def count(self, examples: int) -> None:
        """So many more examples were learned from."""
        self._examples += examples

    def read(self) -> dict[str, float]:
        """Seconds since the start, and examples a second since the last reading."""
        now = time.monotonic()
        rate = self._examples / max(now - self._read, 1e-9)
        self._read, self._examples = now, 0
        return {"seconds": round(now - self._started, 1), "examples_per_s": round(rate, 2)}


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete entries of a journal; a line cut off by a crash is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries
