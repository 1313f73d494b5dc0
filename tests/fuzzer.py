"""Damage files of every kind at random, read them as an analysis does, and note what must never happen.

``python tests/fuzzer.py CASES [SEED] [FIRST]`` runs it by itself; a case is told by seed and number alone, so that any
failure can be repeated: ``python tests/fuzzer.py 1 SEED NUMBER``. The cases run in a process of their own, which may
crash or be ended by its limits; the next begins behind the case where that happened.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_seeds import sound_cases
from hostile_files import Case, hostile_names, make_hostile, saved
from reading_cost import MOST_BYTES, MOST_SECONDS, Meter
from synthetic_files import write_zip
from whole_reading import read_all, write_case

_HOSTILE_SHARE = 0.06
_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 4096, 65536)
_SUFFIXES = ("", ".dcm", ".avi", ".mp4", ".gif", ".png", ".jpg", ".nii", ".nii.gz", ".mhd", ".zip", ".txt")


@dataclass
class Tally:
    """What a run of cases came to."""

    cases: int = 0
    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    largest_bytes: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    by_seed: Counter[str] = field(default_factory=Counter)


def fuzz(cases: int, seed: int = 1, first: int = 0) -> Tally:
    """Run cases in processes of their own."""
    tally = Tally()
    number, end = first, first + cases
    while number < end:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            command = [sys.executable, __file__, "--worker", str(log), folder, str(seed), str(number), str(end)]
            done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        for line in lines:
            _count(tally, line)
        if not lines:
            raise RuntimeError(f"the fuzzer itself does not run: {done.stderr.decode(errors='replace')[-2000:]}")
        number = lines[-1]["number"] + 1
        if "outcome" not in lines[-1]:  # it ended within this case
            slow = done.returncode == -signal.SIGPROF
            problem = "over 20 s, ended" if slow else f"the process died ({done.returncode})"
            _count(tally, {**lines[-1], "outcome": "failure", "problem": problem})
    return tally


def build_case(seed: int, number: int, sound: dict[str, Case]) -> tuple[str, Case]:
    """The name of the seed file and the damaged files of one case."""
    rng = random.Random(f"{seed}/{number}")
    if rng.random() < _HOSTILE_SHARE:
        name = rng.choice(hostile_names())
        files = make_hostile(name)
    else:
        name = rng.choice(sorted(sound))
        files = dict(sound[name])
    other = rng.choice(sorted(sound))
    for _ in range(1 if rng.random() < 0.8 else 2):
        victim = rng.choice(sorted(files))
        content = bytearray(files[victim])
        for _ in range(rng.choice((1, 1, 2, 3, 5, 8, 20))):
            _damage(content, rng, next(iter(sound[other].values())))
        files[victim] = bytes(content)
        if rng.random() < 0.05:
            files[f"a{rng.choice(_SUFFIXES)}"] = files.pop(victim)
    if rng.random() < 0.04 and sum(map(len, files.values())) < 1 << 20:
        packed = dict(files)
        files = {"packed.zip": saved(lambda path: write_zip(path, packed))}
    return name, files


def _damage(content: bytearray, rng: random.Random, other: bytes) -> None:
    """Change a file at one place; half of the places lie in its first 1,500 bytes, where headers are."""
    if not content:
        content += other[: rng.randrange(1, 200)]
        return
    reach = min(len(content), 1500) if rng.random() < 0.5 else len(content)
    at = rng.randrange(reach)
    kind = rng.randrange(9)
    if kind == 0:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[at] = rng.randrange(256)
    elif kind in (2, 3):
        size = rng.choice((1, 2, 4, 8))
        value = rng.choice(_INTERESTING) & ((1 << 8 * size) - 1)
        content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    elif kind == 4:
        del content[at : at + rng.choice((1, 2, 4, 16, 256))]
    elif kind == 5:
        start = rng.randrange(len(content))
        content[at:at] = content[start : start + rng.choice((1, 4, 8, 64, 1024))]
    elif kind == 6:
        del content[at if at > 8 else len(content) // 2 :]
    elif kind == 7:
        start = rng.randrange(max(1, len(other)))
        piece = other[start : start + rng.choice((4, 16, 128, 2048))]
        content[at : at + len(piece)] = piece
    else:
        content[at : at + 8] = rng.randbytes(8)


def _count(tally: Tally, line: dict[str, Any]) -> None:
    if "outcome" not in line:
        return
    tally.cases += 1
    tally.by_seed[line.get("name", "?")] += 1
    tally.slowest_s = max(tally.slowest_s, line.get("seconds", 0.0))
    tally.largest_bytes = max(tally.largest_bytes, line.get("bytes", 0))
    tally.read += line["outcome"] == "read"
    tally.refused += line["outcome"] == "refused"
    if line["outcome"] == "failure":
        tally.failures.append(line)


def _work(log: Path, folder: Path, seed: int, first: int, end: int) -> None:
    """Run cases one by one; a line before each says which, a line after each what became of it."""
    sound = sound_cases()
    read_all(write_case(folder / "case", sound["JPEG 2000"]))  # start the decoder process before memory is measured
    with log.open("w") as stream, contextlib.redirect_stderr(None):
        for number in range(first, end):
            name, files = build_case(seed, number, sound)
            about: dict[str, Any] = {"number": number, "seed": seed, "name": name}
            stream.write(json.dumps(about) + "\n")
            stream.flush()
            stream.write(json.dumps(about | _outcome(write_case(folder / "case", files))) + "\n")
            stream.flush()


def _outcome(folder: Path) -> dict[str, Any]:
    meter = Meter()
    signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
    try:
        frames, _ = read_all(folder)
        outcome: dict[str, Any] = {"outcome": "read" if frames else "refused"}
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
        outcome = {"outcome": "failure", "problem": problem}
    signal.setitimer(signal.ITIMER_PROF, 0)
    cost = meter.cost()
    if cost.seconds > MOST_SECONDS:
        outcome = {"outcome": "failure", "problem": f"{cost.seconds:.1f} s of processor time"}
    if cost.peak_bytes > MOST_BYTES:
        outcome = {"outcome": "failure", "problem": f"{cost.peak_bytes >> 20} MiB"}
    return {**outcome, "seconds": round(cost.seconds, 3), "bytes": cost.peak_bytes}


def main() -> None:
    """Run the cases that the command line asks for, and print the tally."""
    if sys.argv[1:2] == ["--worker"]:
        log, folder, *numbers = sys.argv[2:]
        _work(Path(log), Path(folder), *map(int, numbers))
        return
    tally = fuzz(*map(int, sys.argv[1:]))
    sys.stdout.write(
        f"{tally.cases} cases: {tally.read} read, {tally.refused} refused, {len(tally.failures)} failures; "
        f"slowest {tally.slowest_s:.1f} s of processor time, largest process {tally.largest_bytes >> 20} MiB\n"
    )
    for failure in tally.failures:
        sys.stdout.write(json.dumps(failure) + "\n")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
