"""Tests mirror the source: every room has tests, and every test file is named after something that exists."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "echoapex"
OWN_FOLDERS = {"architecture", "battery", "benchmarks", "fuzz", "journeys", "parity", "docs"}
"""Folders of tests that mirror no room: they look at the whole."""


def rooms() -> set[str]:
    return {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}


def test_every_room_has_tests() -> None:
    with_code = {room for room in rooms() if sum(1 for _ in (PACKAGE / room).rglob("*.py")) > 1}
    untested = sorted(room for room in with_code if not list((ROOT / "tests" / room).rglob("test_*.py")))
    assert not untested, f"rooms without any test: {untested}"


def test_every_folder_of_tests_mirrors_a_room() -> None:
    folders = {folder.name for folder in (ROOT / "tests").iterdir() if any(folder.glob("**/test_*.py"))}
    unknown = sorted(folders - rooms() - OWN_FOLDERS)
    assert not unknown, f"tests of nothing in src/echoapex: {unknown}"
