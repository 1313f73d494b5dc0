"""Commands written in README and docs exist: their verbs, options, recipes and make targets."""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from echoapex.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(echoapex [^`\n]+|make [a-z-]+)`")
SHORTHAND = re.compile(
    r"[A-Z]{2,}|\.\.\.|\{"
    r"|^echoapex (?:analyze|measure|summarize|phantom|evaluate|transfer|clicks|benchmark|demo|models)(?: [a-z]+)?$"
    r"|^echoapex (?:ingest|curate|deidentify|pretrain|finetune)(?: [a-z]+)?$"
)
"""Inline mentions that stand for a family of commands rather than for one that can be typed."""


def commands(prefix: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [body.replace("\\\n", " ") for kind, body in FENCE.findall(text) if kind in ("sh", "console")]
        lines = [line.split("  #")[0].removeprefix("$ ").strip() for body in blocks for line in body.splitlines()]
        inline = [found for found in INLINE.findall(FENCE.sub("", text)) if not SHORTHAND.search(found)]
        for line in dict.fromkeys([*lines, *inline]):
            if line.startswith(prefix):
                yield page.name, line


def test_readme_starts_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [body.strip() for kind, body in FENCE.findall(readme) if kind == "sh"]
    assert blocks[:2] == ["make demo", "make test"]
    assert "not a medical device" in readme


@pytest.mark.parametrize(("page", "line"), list(commands("echoapex ")))
def test_an_echoapex_command_can_be_typed(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    if words == ["--help"]:
        return
    # parsing binds every argument and refuses unknown ones, without running the verb
    _, bound, unused, _ = app.parse_known_args(words)
    assert not unused, f"{page}: {line!r} has unknown arguments {unused}"
    if words[0] in ("finetune", "pretrain"):
        recipes = resources.files("echoapex").joinpath("recipes")
        assert recipes.joinpath(f"{bound.arguments['recipe']}.yaml").is_file(), f"{page}: no such recipe"


def test_readme_says_which_commands_need_more_than_the_demo_installs() -> None:
    """What reads or writes frame stores needs Lance; everything else in the table needs the plain package only."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    marked = re.findall(r"^\| `echoapex (\w+)[^|]*\|[^|]*¹ \|$", readme, re.MULTILINE)
    assert marked == ["ingest", "curate"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any("lance" in need for need in (*project["dependencies"], *project["optional-dependencies"]["demo"]))
    assert re.search(r"^¹ .*'echoapex\[ingest\]'", readme, re.MULTILINE)


@pytest.mark.parametrize(("page", "line"), list(commands("make ")))
def test_a_make_target_exists(page: str, line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert line.split()[1] in targets, f"{page}: make has no target for {line!r}"


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")


def links(page: Path) -> Iterator[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    broken = [target for target in links(page) if not (page.parent / target).exists()]
    assert not broken, f"{page.name} links to nothing: {broken}"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_test_command_checks_layers_types_and_lint_before_it_tests(tmp_path: Path) -> None:
    (tmp_path / ".python").touch()
    told = subprocess.run(
        ["make", "-n", "test", f"VENV={tmp_path}", "PYTEST_ARGS=tests/measure"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [re.sub(r"^(?:[A-Z_]+=\S+ )*", "", line.strip()) for line in told.stdout.splitlines()]
    lines = [line.removeprefix(f"{tmp_path}/bin/") for line in lines]
    programs = [line for line in lines if line.startswith(("ruff", "mypy", "lint-imports", "python -m pytest"))]
    assert [line.split()[0] for line in programs] == ["ruff", "ruff", "mypy", "lint-imports", "python"]
    assert programs[-1].startswith("python -m pytest ") and programs[-1].endswith(" tests/measure")
