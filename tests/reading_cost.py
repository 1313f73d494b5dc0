"""Processor time and memory of this process and its decoder process, measured case by case (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS = 20.0
MOST_BYTES = 1 << 30
_BARE_READER_BYTES = 200 << 20
"""What a process that has loaded the readers alone holds; a test's own may hold much more before it reads anything."""


@dataclass(frozen=True)
class Cost:
    """What reading a file took: processor seconds, and the largest resident memory of a reading process, in bytes."""

    seconds: float
    peak_bytes: int


class Meter:
    """Measures from its making on."""

    def __init__(self) -> None:
        for process in _processes():
            _write(process, "clear_refs", "5")  # start the high-water mark of memory anew
        self._before = {process: _bytes(process, "VmRSS") for process in _processes()}
        self._start_s = _seconds()

    def cost(self) -> Cost:
        """What was used since; memory as if the process had held nothing but the readers before."""
        grown = (_bytes(process, "VmHWM") - self._before.get(process, 0) for process in _processes())
        return Cost(_seconds() - self._start_s, _BARE_READER_BYTES + max(grown, default=0))


def _processes() -> list[int]:
    """This process and those that it started and that live."""
    own = os.getpid()
    children = Path(f"/proc/self/task/{own}/children")
    return [own, *map(int, children.read_text().split())] if children.exists() else [own]


def _seconds() -> float:
    """Processor time of this process, of its living and of its finished children."""
    times = os.times()
    living = sum(map(_child_seconds, _processes()[1:]))
    return times.user + times.system + times.children_user + times.children_system + living


def _child_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _bytes(process: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _write(process: int, name: str, text: str) -> None:
    try:
        Path(f"/proc/{process}/{name}").write_text(text)
    except OSError:
        return
