"""The journal of a run: one JSON line per entry, the source of truth for every curve."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends entries to ``journal.jsonl``; lines beyond the step a run resumes from are dropped."""

    def __init__(self, directory: Path, resume_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "journal.jsonl"
        kept = [entry for entry in read_journal(self.path) if int(entry["step"]) < resume_step]
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """Append one entry."""
        entry = {"step": step, "time": round(time.time(), 1), **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


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
