"""Writes the reference of the Python interface and of the command line, from the code, before Sphinx reads its pages.

``conf.py`` calls ``write_pages``. The pages lie in ``reference/api`` and ``reference/cli`` and are not kept in git.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import echoapex
from echoapex.cli import app

PACKAGE = Path(echoapex.__file__).resolve().parent
ROOMS = {
    "vocabulary": "Views, structures, quantities and sub-tasks as enums, with their standard codes, units and ranges.",
    "domain": "Immutable values that every other room uses: clips, geometry, prompts and results. It needs numpy only.",
    "io": "Reads DICOM, video, still images, volumes and archives, and writes files completely or not at all.",
    "phantom": "Simulates echo clips of a beating heart, with the exact truth of every measurement.",
    "data": "Prepares frames: preprocessing, augmentation, crops, batches, frame stores, ingest and public data sets.",
    "models": "The encoder, its adapters and decoders, and the bundles that keep weights together with their cards.",
    "losses": "What training minimises, supervised and self-supervised.",
    "measure": "Clinical arithmetic: volumes, walls, cardiac cycle and reference limits. Every formula is cited.",
    "metrics": "Scores and their intervals: classification, segmentation, agreement and uncertainty.",
    "tasks": "The applications as tasks: each has a loss, a prediction and a score.",
    "train": "The trainer, the optimiser, checkpoints and the journal; it does not know any particular task.",
    "evaluate": "Compares written results with a reference, and makes the benchmark card. It needs no torch.",
    "infer": "The analysis: one clip, one study, interactive segmentation, and the output files.",
    "curation": "Decides how often pretraining visits each frame of a store, so that rare views and vendors count.",
    "recipes": "One file for each kind of training run, and the runner that turns a recipe into a bundle.",
    "cli": "One file for each verb of the command line.",
    "serve": "The DICOM network node and the DICOMweb client: jobs, studies, and the ledger of what was sent.",
}
"""One introductory sentence for each room, in the order of the layers."""

FRONT_DOOR = "The front door: what most programs need. Configuration and version stand below it."


def modules() -> list[str]:
    """Every public module of the package, by its dotted name."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found.append(".".join(("echoapex", *parts)))
    return sorted(found)


def packages() -> dict[str, list[str]]:
    """The modules of each package, each under the package that holds it; those of no package under ``echoapex``."""
    grouped: dict[str, list[str]] = {}
    for module in modules():
        is_package = (PACKAGE / "/".join(module.split(".")[1:])).is_dir()
        grouped.setdefault(module if is_package else module.rpartition(".")[0], []).append(module)
    return grouped


def api_pages() -> dict[str, str]:
    """The text of each page of the Python reference, by its file name: one page for each package."""
    grouped = packages()
    rooms = [name for name in ROOMS if f"echoapex.{name}" in grouped]
    index = (
        heading("Python reference")
        + "Every public module and name, made from the code. Start with the front door. The rooms follow in the order\n"
        "of the layers, from the bottom to the top (:doc:`../../explanation/architecture`).\n\n"
        + f"* :doc:`echoapex`: {FRONT_DOOR}\n"
        + "".join(f"* :doc:`echoapex.{room}`: {ROOMS[room]}\n" for room in rooms)
        + toctree(["echoapex", *(f"echoapex.{room}" for room in rooms)])
    )
    pages = {"index.rst": index}
    for package, members in grouped.items():
        below = [module for module in members if module != package]
        rest = [other for other in grouped if other.rpartition(".")[0] == package != "echoapex"]
        opening = "\n".join(front_door()) if package == "echoapex" else automodule(package)
        pages[f"{package}.rst"] = (
            heading(package)
            + f"{introduction(package)}\n\n{opening}"
            + "".join("\n" + heading(module, "-") + automodule(module) for module in below)
            + toctree(rest)
        )
    return pages


def introduction(package: str) -> str:
    """The sentence on a room; a package inside a room has its own docstring."""
    if package == "echoapex":
        return FRONT_DOOR
    return ROOMS.get(package.removeprefix("echoapex."), "")


def front_door() -> Iterator[str]:
    """What ``echoapex.__all__`` holds, each name with the directive of its kind."""
    yield ".. automodule:: echoapex\n   :no-members:\n   :no-index:\n"
    for name in sorted(echoapex.__all__):
        value = getattr(echoapex, name)
        if inspect.isclass(value):
            yield f".. autoclass:: echoapex.{name}\n"
        elif inspect.isroutine(value):
            yield f".. autofunction:: echoapex.{name}\n"
        else:
            yield f".. autodata:: echoapex.{name}\n   :no-value:\n"


def automodule(module: str) -> str:
    """The directive for a module, and links to what it offers from other modules."""
    loaded = importlib.import_module(module)
    offered = [
        f"{origin}.{name}"
        for name in getattr(loaded, "__all__", ())
        if (origin := getattr(getattr(loaded, name), "__module__", module)) != module
    ]
    links = ", ".join(f":py:obj:`~{name}`" for name in offered)
    return f".. automodule:: {module}\n" + (f"\nAlso offered here: {links}.\n" if links else "")


def cli_pages() -> dict[str, str]:
    """The text of each page of the command-line reference, by its file name; made by cyclopts from the verbs."""
    verbs = [name for name in app if not name.startswith("-")]
    index = (
        heading("Command line") + "Every verb of ``echoapex`` with its arguments and options, made from the code.\n"
        "``echoapex VERB --help`` shows the same. Exit codes are in :doc:`../output`.\n\n"
        + "".join(f"* :doc:`{verb}`: {first_line(app[verb].help)}\n" for verb in verbs)
        + toctree(verbs)
    )
    return {"index.rst": index} | {f"{verb}.rst": verb_page(verb) for verb in verbs}


def verb_page(verb: str) -> str:
    """A verb with its sub-verbs, arguments, options and examples."""
    text = app[verb].generate_docs("rst", usage_name=f"echoapex {verb}")
    text = re.sub(r"^\.\. contents::.*\n(?:   .*\n)*", "", text, flags=re.MULTILINE)  # the theme shows one of its own
    commands = re.findall(r"^ *(echoapex .*)$", str(app[verb].help_epilogue or ""), re.MULTILINE)
    examples = "".join(f"   {command}\n" for command in commands)
    return text + (f"\n**Examples:**\n\n.. code-block:: text\n\n{examples}" if examples else "")


def first_line(text: str) -> str:
    """The first line of a help text."""
    return text.strip().splitlines()[0]


def heading(text: str, underline: str = "=") -> str:
    """A title in reStructuredText."""
    return f"{text}\n{underline * len(text)}\n\n"


def toctree(entries: list[str]) -> str:
    """A table of contents that only the navigation shows."""
    return "\n.. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {entry}\n" for entry in entries) if entries else ""


def write_pages(docs: Path) -> None:
    """Write both references below ``docs``; a page that has not changed stays as it is, one without origin goes."""
    for folder, pages in (("api", api_pages()), ("cli", cli_pages())):
        place = docs / "reference" / folder
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("*.rst"):
            if old.name not in pages:
                old.unlink()
        for name, text in pages.items():
            path = place / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
