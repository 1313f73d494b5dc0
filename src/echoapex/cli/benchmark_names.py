"""What ``echoapex benchmark`` is given by name: folders, files, and data sets with their splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from echoapex.cli.evaluate import DatasetName
from echoapex.evaluate.card.errors import CardError

REAL_DATASETS: dict[str, DatasetName] = {name: name for name in get_args(DatasetName) if name != "phantom"}
"""Real data sets that ``echoapex evaluate`` can score."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class NamedData:
    """A real data set: what the card calls it, which one it is, its folder, and the split (that of evaluate if "")."""

    name: str
    dataset: DatasetName
    root: Path
    split: str = ""


def named_paths(option: str, given: Sequence[str]) -> list[tuple[str, Path]]:
    """Pairs from ``NAME=PATH``.

    Raises:
        CardError: one is not of that form, a name is given twice, or nothing is there.
    """
    found = _named(option, given, "PATH")
    for name, path in found:
        if not path.exists():
            raise CardError(f"{option} {name}={path}: {path} is not there; check the path")
    return found


def named_folders(option: str, given: Sequence[str]) -> list[tuple[str, Path]]:
    """Pairs from ``NAME=DIR``.

    Raises:
        CardError: one is not of that form, a name is given twice, or there is no such folder.
    """
    found = _named(option, given, "DIR")
    for name, path in found:
        if not path.is_dir():
            raise CardError(f"{option} {name}={path}: {path} is no folder; check the path")
    return found


def named_data(given: Sequence[str], splits: Sequence[str]) -> list[NamedData]:
    """Data sets from ``DATASET=DIR`` or ``NAME:DATASET=DIR``, and their splits from ``NAME=SPLIT``.

    Raises:
        CardError: one is not of that form, is no known data set, is given twice, or has no folder; a split is of none.
    """
    split_of = dict(_split_at_equals("--split", each, "SPLIT") for each in splits)
    dataset_of, plain = {}, []
    for each in given:
        left, equals, folder = each.partition("=")
        name, _, dataset = left.rpartition(":")
        name = name or dataset
        dataset_of[name] = _known_dataset(each, dataset) if equals else None
        plain.append(f"{name}{equals}{folder}")
    found = [
        NamedData(name, known, root, split_of.pop(name, ""))
        for name, root in named_folders("--data", plain)
        if (known := dataset_of[name]) is not None
    ]
    if split_of:
        raise CardError(f"--split {next(iter(split_of))}=...: no --data has that name")
    return found


def _known_dataset(given: str, dataset: str) -> DatasetName:
    known = REAL_DATASETS.get(dataset.replace("-", "_"))
    if known is None:
        raise CardError(
            f"--data {given}: {dataset!r} is no data set that can be scored; known: {', '.join(REAL_DATASETS)} "
            "(simulated patients go in by --phantom, scores made elsewhere by --scores)"
        )
    if given.startswith("phantom:"):
        raise CardError(f"--data {given}: phantom is what the simulated patients are called; choose another name")
    return known


def _named(option: str, given: Sequence[str], wanted: str) -> list[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for each in given:
        name, path = _split_at_equals(option, each, wanted)
        if name in found:
            raise CardError(f"{option} {name}=...: is given twice; call the second differently")
        found[name] = Path(path)
    return list(found.items())


def _split_at_equals(option: str, given: str, wanted: str) -> tuple[str, str]:
    name, separator, value = given.partition("=")
    if not separator or not value or not _NAME.fullmatch(name):
        raise CardError(f"{option} {given}: write NAME={wanted}, the name of letters, digits, dot, dash and underscore")
    return name, value
