"""Modules, names and source files that pages mention exist."""

import importlib
import re
from pathlib import Path

import pytest

from echoapex.train.trainer import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "echoapex"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
DOTTED = re.compile(rf"(?<![\w./-])(?:echoapex|{'|'.join(ROOMS)})(?:\.[A-Za-z_]\w*)+(?!\w*[/(]?\w*\.(?:md|yaml))")
FILES = re.compile(rf"(?<![\w./-])(?:(?:src/)?echoapex/|(?:{'|'.join(ROOMS)})/)[\w/]+\.(?:py|yaml|json)\b")
OTHERS = re.compile(r"(?<![\w./-])(?:tests|benchmarks|docs|examples)/[\w/.-]+\.(?:py|md|json|yaml|sbatch)\b")
ENDINGS = {"csv", "json", "jpg", "log", "md", "names", "npz", "png", "py", "safetensors", "svg", "yaml", "zip"}
"""A word like ``curation.json`` is a file of a run, no module."""


def code_of(page: Path) -> str:
    """What a page sets as code: fenced blocks and inline."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*fenced, *inline])


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = dotted.split(".") if dotted.startswith("echoapex") else ["echoapex", *dotted.split(".")]
    for cut in range(len(parts), 0, -1):
        place = PACKAGE.joinpath(*parts[1:cut])
        if place.is_dir() or place.with_suffix(".py").is_file():
            found = importlib.import_module(".".join(parts[:cut]))
            for name in parts[cut:]:
                if not hasattr(found, name):
                    return False
                found = getattr(found, name)
            return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_and_names_exist(page: Path) -> None:
    code = code_of(page)
    variables = re.findall(r"^(\w+) = ", code, re.MULTILINE)
    mentioned = {name for name in DOTTED.findall(code) if name.rpartition(".")[2] not in ENDINGS}
    mentioned = {name for name in mentioned if name.split(".")[0] not in variables}
    gone = sorted(name for name in mentioned if not exists(name) and not is_key(name))
    assert not gone, f"{page.name} names what is not there: {gone}"


def is_key(name: str) -> bool:
    """Whether a name is a key of the section ``train`` of a recipe, which is called like the room."""
    section, key = name.split(".")[:2]
    return section == "train" and key in TrainConfig.model_fields


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_exist(page: Path) -> None:
    text = code_of(page)
    source = {name: PACKAGE / name.removeprefix("src/").removeprefix("echoapex/") for name in FILES.findall(text)}
    others = {name: ROOT / name for name in OTHERS.findall(text)}
    gone = sorted(name for name, path in (source | others).items() if not path.is_file())
    assert not gone, f"{page.name} names files that are not there: {gone}"


def test_the_search_finds_names_and_files() -> None:
    assert DOTTED.findall("`echoapex.infer.study` and infer.study") == ["echoapex.infer.study", "infer.study"]
    assert not exists("infer.study.values.nothing")
    assert not exists("io.workspace")
    assert FILES.findall("src/echoapex/io/archive.py recipes/a.py") == ["src/echoapex/io/archive.py", "recipes/a.py"]
