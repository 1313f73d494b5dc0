"""The parts of a benchmark: each is a run of ``echoapex evaluate`` and of ``echoapex clicks``, done once.

A finished part leaves ``asked.json``, which says what was asked: the files, the weights, the version. A part that was
asked in the same way is not run again; one that was interrupted goes on where its own verb can.

What ``echoapex benchmark`` is given by name: folders, files, and data sets with their splits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter
from cyclopts.validators import Number

from echoapex.cli.console import ExitCode
from echoapex.cli.evaluate import METRICS_FILE, DatasetName, EvaluationMethod, Source, evaluate
from echoapex.evaluate.card.card_file import PartClicks
from echoapex.evaluate.card.rows import ScoredPart, read_json_file, read_scored_part
from echoapex.evaluate.card.targets import CardError, click_goals
from echoapex.evaluate.click_scores import ClicksFile
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import BundleError, read_card
from echoapex.models.registry import default_set, find_set
from echoapex.version import __version__

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
            raise CardError(f"{option} {name}={path}: {path} is not a folder; check the path")
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
            f"--data {given}: {dataset!r} is not a data set that can be scored; known: {', '.join(REAL_DATASETS)} "
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


PART_FOLDER, PHANTOM_FOLDER, CLICK_FOLDER, ASKED_FILE = "parts", "phantom", "clicks", "asked.json"
CLICKS_FILE = "clicks.json"
PHANTOM: Literal["phantom"] = "phantom"
HELD_OUT = "held_out"
DONE = (ExitCode.ALL_GOOD, ExitCode.SOME_FILES_FAILED)
"""Exit codes after which there is something to show."""
CLICKED_DATASETS = ("phantom", "camus")
"""Those that ``echoapex clicks`` can ask about."""


@Parameter(name="*")
@dataclass(frozen=True)
class BenchmarkMethod:
    """How to analyse.

    Attributes:
        bundle: name or folder of the set of weights.
        device: where the models run.
        views: whether the analysis finds the view or is given the true one; auto gives it for data sets that are about
            something else, CAMUS and those of EchoNet.
        baseline_patients: simulated patients to fit the pixel baseline of the views on; 0 leaves it out.
        click_images: labelled frames of each part to click on; 0 leaves clicks out.
    """

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    views: Literal["auto", "find", "given"] = "auto"
    baseline_patients: Annotated[int, Parameter(validator=Number(gte=0, lte=100_000))] = 0
    click_images: Annotated[int, Parameter(validator=Number(gte=0))] = 40


@dataclass(frozen=True)
class PhantomPlan:
    """Where the held-out phantoms lie; without ``root`` so many are drawn from ``seed`` on."""

    root: Path | None
    studies: int
    seed: int
    size: int

    def draw(self, out: Path, quiet: bool) -> ExitCode:
        """Draw what is not there yet."""
        from echoapex.cli.phantom import StudyContent, phantom

        return ExitCode(
            phantom(studies=self.studies, seed=self.seed, out=out, content=StudyContent(size=self.size), quiet=quiet)
        )


@dataclass(frozen=True)
class PartPlan:
    """One data set of the benchmark; ``scored`` where its scores were given."""

    name: str
    dataset: DatasetName
    root: Path
    split: str
    scored: bool = False


def read_clicks(name: str, folder: Path) -> PartClicks:
    """The scores of an output folder of ``echoapex clicks``, with the goals on their data set.

    Raises:
        CardError: they cannot be read.
    """
    scores = read_json_file(folder / CLICKS_FILE, ClicksFile, "echoapex clicks")
    return PartClicks(part=name, scores=scores, goals=click_goals(scores))


def plan_parts(
    out: Path, phantoms: PhantomPlan, data: Sequence[NamedData], written: Sequence[ScoredPart]
) -> list[PartPlan]:
    """What is to be scored; phantoms are not drawn where some were scored already."""
    scored = {part.name for part in written}
    plans = []
    if phantoms.root is not None or not any(part.metrics.dataset == PHANTOM for part in written):
        root = phantoms.root or out / PHANTOM_FOLDER
        plans.append(PartPlan(PHANTOM, PHANTOM, root, HELD_OUT, PHANTOM in scored))
    plans += [PartPlan(each.name, each.dataset, each.root, each.split, each.name in scored) for each in data]
    return plans


@dataclass
class RunParts:
    """Runs the parts of a benchmark into ``out`` and reads back what they wrote."""

    out: Path
    method: BenchmarkMethod
    quiet: bool
    scored: list[ScoredPart] = field(default_factory=list)
    clicked: list[PartClicks] = field(default_factory=list)

    def all_of(self, plans: Sequence[PartPlan], phantoms: PhantomPlan, clicked: set[str]) -> ExitCode:
        """Run what is not finished; ``clicked`` names the parts whose clicks were given.

        Returns:
            All good; some files failed; or the exit code of the part that could not be run, which has said why.

        Raises:
            CardError: there is no such set of weights, or what a part wrote cannot be read.
        """
        worst = ExitCode.ALL_GOOD
        for plan in plans:
            if plan.scored:
                continue
            if plan.dataset == PHANTOM and phantoms.root is None:
                drawn = phantoms.draw(plan.root, self.quiet)
                if drawn is not ExitCode.ALL_GOOD:
                    return drawn
            folder = self.out / PART_FOLDER / plan.name
            code = self._once(folder, METRICS_FILE, self._asked(plan), lambda p=plan, f=folder: self._evaluate(p, f))  # type: ignore[misc]
            clickable = plan.dataset in CLICKED_DATASETS and plan.name not in clicked
            if code in DONE and self.method.click_images and clickable:
                clicks = self._click(plan, folder / CLICK_FOLDER)
                code = code if clicks is ExitCode.ALL_GOOD else clicks
            if code not in DONE:
                return code
            worst = max(worst, code)
            self.scored.append(read_scored_part(plan.name, folder))
        return worst

    def _evaluate(self, plan: PartPlan, folder: Path) -> int:
        method = EvaluationMethod(
            self.method.bundle, self.method.device, self.method.views, self.method.baseline_patients
        )
        source = Source(plan.dataset, plan.root, plan.split)
        return evaluate(source=source, out=folder, method=method, quiet=self.quiet)

    def _click(self, plan: PartPlan, folder: Path) -> ExitCode:
        from echoapex.cli.clicks import ClickMethod, ClickSource, clicks

        images = self.method.click_images

        def run() -> int:
            return clicks(
                source=ClickSource("camus" if plan.dataset == "camus" else "phantom", plan.root, plan.split, images),
                out=folder,
                method=ClickMethod(self.method.bundle, self.method.device, follow=False),
                quiet=self.quiet,
            )

        asked = {**self._asked(plan), "click_images": self.method.click_images}
        code = self._once(folder, CLICKS_FILE, asked, run)
        if code is ExitCode.ALL_GOOD:
            self.clicked.append(read_clicks(plan.name, folder))
        return code

    def _once(self, folder: Path, result: str, asked: Mapping[str, object], run: Callable[[], int]) -> ExitCode:
        """Run, unless the same was asked before and finished without a failure."""
        record, text = folder / ASKED_FILE, json.dumps(asked, indent=1, sort_keys=True) + "\n"
        if (folder / result).is_file() and record.is_file() and record.read_text(encoding="utf-8") == text:
            return ExitCode.ALL_GOOD
        record.unlink(missing_ok=True)
        code = ExitCode(run())
        if code is ExitCode.ALL_GOOD:
            write_bytes_atomically(record, text.encode())
        return code

    def _asked(self, plan: PartPlan) -> dict[str, object]:
        return {
            "echoapex_version": __version__,
            "dataset": plan.dataset,
            "split": plan.split,
            "files_sha256": digest_of_folder(plan.root),
            "weights": digests_of_set(self.method.bundle),
            "views": self.method.views,
            "baseline_patients": self.method.baseline_patients,
        }


def digest_of_folder(root: Path) -> str:
    """sha256 over names and sizes of all files below a folder: tells whether files came, went or changed size."""
    files = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*") if path.is_file())
    listing = "".join(f"{name}\t{path.stat().st_size}\n" for name, path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def digests_of_set(bundle: str) -> dict[str, str]:
    """The digests of the cards of a set of weights, and of the default set that fills its gaps.

    Raises:
        CardError: there is no such set, or a card is damaged.
    """
    try:
        sets = {"set": find_set(bundle), "default": default_set()}
        return {
            f"{which}/{name}": read_card(path).card_sha256
            for which, found in sets.items()
            for name, path in found.bundles.items()
        }
    except BundleError as error:
        raise CardError(str(error)) from error
