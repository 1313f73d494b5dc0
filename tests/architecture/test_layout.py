"""The laws of the house that a machine can watch: size, names, words and layers."""

import ast
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "echoapex").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "managers"}
MOST_LINES = 400
PLACES_OF_WORK = ("/" + "work/", "/" + "tmp/")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_a_package_to_watch() -> None:
    assert len(SOURCES) > 50


def test_files_are_short() -> None:
    long = {
        named(path): n for path in SOURCES if (n := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long, f"over {MOST_LINES} lines, split by idea: {long}"


def test_no_module_is_called_after_nothing() -> None:
    vague = [named(p) for p in (ROOT / "src").rglob("*") if p.stem.lower() in FORBIDDEN_NAMES]
    assert not vague, f"name these after their one idea: {vague}"


def test_a_name_is_one_thing() -> None:
    """No two public classes share a name: who reads it in one file knows it in all."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(named(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice, twice


def test_small_files_have_several_users() -> None:
    """A file under 60 lines that only one other file imports belongs in that file; verbs have their own files."""
    importers: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and path.stem != "__init__":
                importers.setdefault(node.module, set()).add(named(path))
    lonely = []
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        short = len(path.read_text(encoding="utf-8").splitlines()) < 60
        if short and path.stem != "__init__" and path.parent.name != "cli" and len(importers.get(module, ())) == 1:
            lonely.append(named(path))
    assert not lonely, f"belongs in the one file that uses it: {lonely}"


def test_functions_are_short_and_take_few_parameters() -> None:
    """Ruff's PLR0915 and PLR0913 over every file, where an exception must carry its reason on the same line."""
    command = Path(sysconfig.get_path("scripts")) / "ruff"
    if not command.exists():
        pytest.skip("ruff is not installed (it comes with the dev extra; make check runs it)")
    rules = ["check", "--no-cache", "--select", "PLR0913,PLR0915", "src"]
    result = subprocess.run([command, *rules], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    bare = [
        f"{named(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"noqa: [^#]*PLR091", line) and not re.search(r"PLR091\d\s*(- |\()\w+", line)
    ]
    assert not bare, f"exceptions without a reason: {bare}"


def missing_docstrings(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield f"{named(path)}: the module"
    public: list[tuple[str, ast.AST]] = [("", tree)]
    while public:
        prefix, parent = public.pop()
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            overload = any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)
            if not ast.get_docstring(node) and not overload:
                yield f"{named(path)}:{node.lineno} {prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                public.append((f"{prefix}{node.name}.", node))


def test_everything_public_is_described() -> None:
    missing = [line for path in SOURCES for line in missing_docstrings(path)]
    assert not missing, f"without a docstring: {missing}"


def test_nothing_prints_or_works_at_import() -> None:
    offenders = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        printing = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"]
        working = [] if path.parent.name == "cli" else [n for n in tree.body if works(n)]  # verbs register themselves
        offenders += [f"{named(path)}:{node.lineno}" for node in (*printing, *working)]
    assert not offenders, offenders


def works(statement: ast.stmt) -> bool:
    """Whether a statement at module level does something rather than define something."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)  # a docstring
    return isinstance(statement, ast.For | ast.While | ast.With)


def test_nothing_is_left_unfinished() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    unfinished = [
        f"{named(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(mark in line for mark in marks) or "raise NotImplementedError" in line
    ]
    assert not unfinished, unfinished


def test_no_path_of_a_particular_machine_is_written_down() -> None:
    tracked = [
        *SOURCES,
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").rglob("*.py"),
        *ROOT.glob("*.md"),
        ROOT / "Makefile",
    ]
    found = [
        f"{named(path)}: {place}"
        for path in tracked
        for place in PLACES_OF_WORK
        if place in path.read_text(encoding="utf-8")
    ]
    assert not found, found


@pytest.mark.skipif(
    not shutil.which("lint-imports", path=sysconfig.get_path("scripts")),
    reason="import-linter is not installed (it comes with the dev extra; make check runs it)",
)
def test_layers_are_kept() -> None:
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
