"""The references made from the code hold every public module, every name of the front door, every verb and option."""

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from cyclopts import App

import echoapex
from echoapex.cli import app

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("lance", "mlflow", "pyarrow", "ray", "tensorboard", "transformers", "rapidocr", "gdcm")
VERBS = [name for name in app if not name.startswith("-")]


@cache
def reference() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "reference_pages.py")))


@cache
def api_text() -> str:
    return "\n".join(reference().api_pages().values())


def source_modules() -> list[str]:
    package = ROOT / "src" / "echoapex"
    paths = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return sorted(name for name in names if not any(part.startswith("_") for part in name.split(".")))


def test_every_public_module_is_in_the_python_reference_once() -> None:
    declared = re.findall(r"^\.\. automodule:: (\S+)$", api_text(), re.MULTILINE)
    assert sorted(declared) == source_modules()


def test_every_name_of_the_front_door_is_in_the_python_reference() -> None:
    declared = re.findall(r"^\.\. auto(?:class|function|data|exception):: echoapex\.(\w+)$", api_text(), re.MULTILINE)
    assert sorted(declared) == sorted(echoapex.__all__)


def test_every_room_has_an_introductory_sentence() -> None:
    folders = {path.parent.name for path in (ROOT / "src" / "echoapex").glob("*/__init__.py")}
    assert folders <= set(reference().ROOMS)
    assert all(sentence.endswith(".") for sentence in reference().ROOMS.values())


def test_the_contents_lead_to_every_page() -> None:
    for pages in (reference().api_pages(), reference().cli_pages()):
        entries = set(re.findall(r"^   (\w[\w.]*)$", "\n".join(pages.values()), re.MULTILINE))
        assert {name.removesuffix(".rst") for name in pages} - {"index"} <= entries


def test_every_module_can_be_imported_without_the_optional_extras() -> None:
    script = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
        f"[importlib.import_module(name) for name in {source_modules()!r}]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def leaves(command: App) -> Iterator[App]:
    """The command and every command below it that does something."""
    if command.default_command is not None:
        yield command
    for name in command:
        if not name.startswith("-"):
            yield from leaves(command[name])


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_in_the_command_line_reference(verb: str) -> None:
    page = reference().cli_pages()[f"{verb}.rst"]
    terms = {name for line in re.findall(r"^``(.+)``$", page, re.MULTILINE) for name in re.split(r"[, ]+", line)}
    asked = [argument for leaf in leaves(app[verb]) for argument in leaf.assemble_argument_collection()]
    missing = [name for argument in asked if argument.show for name in argument.names if name not in terms]
    assert not missing, f"docs/reference/cli/{verb} lacks {missing}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_of_a_verb_has_its_summary_and_its_sub_verbs(verb: str) -> None:
    page = reference().cli_pages()[f"{verb}.rst"]
    assert f"\n    echoapex {verb}" in page
    assert reference().first_line(app[verb].help) in page
    for name in app[verb]:
        assert name.startswith("-") or f"\n    echoapex {verb} {name}" in page
    examples = re.findall(r"^ *(echoapex .*)$", str(app[verb].help_epilogue or ""), re.MULTILINE)
    assert all(f"   {example}" in page for example in examples)


def test_unchanged_pages_stay_and_pages_without_origin_go(tmp_path: Path) -> None:
    reference().write_pages(tmp_path)
    page, stray = tmp_path / "reference" / "cli" / "analyze.rst", tmp_path / "reference" / "cli" / "gone.rst"
    before = page.stat().st_mtime_ns
    stray.write_text("gone\n", encoding="utf-8")
    reference().write_pages(tmp_path)
    assert page.stat().st_mtime_ns == before
    assert not stray.exists()
