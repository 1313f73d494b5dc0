"""Thousands of damaged files of every kind: each is read or refused; nothing else is raised, crashes, hangs or bloats.

``ECHOAPEX_FUZZ_CASES=20000`` makes it long; ``ECHOAPEX_FUZZ_SEED`` chooses other cases.
"""

import os
import random
import sys

import pytest
from fuzz_seeds import sound_cases
from fuzzer import build_case, fuzz
from whole_reading import read_all, write_case

CASES = int(os.environ.get("ECHOAPEX_FUZZ_CASES", "2500"))
SEED = int(os.environ.get("ECHOAPEX_FUZZ_SEED", "1"))


@pytest.mark.parametrize(("name", "files"), sound_cases().items(), ids=sound_cases())
def test_the_seeds_are_sound(tmp_path_factory: pytest.TempPathFactory, name: str, files: dict[str, bytes]) -> None:
    frames, errors = read_all(write_case(tmp_path_factory.mktemp("sound") / "case", files))
    assert frames > 0
    assert len(errors) == (1 if name == "DICOMDIR" else 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="time and memory are measured in /proc")
def test_damaged_files_are_read_or_refused() -> None:
    tally = fuzz(CASES, SEED)

    assert tally.failures == []
    assert tally.cases == CASES
    assert tally.read > CASES // 20  # damage that every reader refuses at once would test little
    assert tally.refused > CASES // 4
    assert len(tally.by_seed) > 70


def test_a_case_is_told_by_its_seed_and_number() -> None:
    sound = sound_cases()
    random.seed(4)
    first = build_case(3, 17, sound)
    random.seed(5)
    assert build_case(3, 17, sound) == first
    assert build_case(3, 18, sound) != first
