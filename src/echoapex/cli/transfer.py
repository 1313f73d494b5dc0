"""``echoapex transfer``: several sets of weights on several data sets, with no change, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from echoapex.cli.console import ERRORS, ExitCode, complain, examples
from echoapex.cli.evaluate import (
    CASES_FILE,
    METRICS_FILE,
    SCORING_ERRORS,
    DatasetName,
    EvaluationError,
    Method,
    Source,
    analyze_studies,
    read_reference,
)
from echoapex.evaluate.cases import write_cases
from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.metrics_file import MetricsFile
from echoapex.evaluate.reference import ReferenceSet, read_predictions
from echoapex.evaluate.transfer import collect_transfer, write_transfer
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.version import __version__
from echoapex.vocabulary import Application

app = App(
    name="transfer",
    help="Score several sets of weights on several data sets, with no change, as one table.",
    help_epilogue=examples("echoapex transfer --bundle phantom --dataset phantom=studies/ --out transfer/"),
)

TrainingData = dict[Application, tuple[str, ...]]


@dataclass(frozen=True)
class NamedBundle:
    """A set of weights and what the table calls it."""

    name: str
    place: str


@app.default
def transfer(
    *,
    bundle: Annotated[list[str], Parameter(consume_multiple=True)],
    dataset: Annotated[list[str], Parameter(consume_multiple=True)],
    out: Path,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    quiet: bool = False,
) -> int:
    """Score several sets of weights on several data sets, with no change, as one table.

    Writes transfer.md, transfer.csv and transfer.json, and for each pair metrics.json and cases.csv as `echoapex
    evaluate` does, in a folder of its own. Finished studies are not analysed again.

    Args:
        bundle: sets of weights: a name, a folder, or NAME=FOLDER to choose what the table calls it.
        dataset: data sets: NAME=FOLDER, or NAME:SPLIT=FOLDER for another split than the usual one.
        out: folder for the table and the results that it is made of.
        device: where the models run.
        quiet: show neither progress nor the table.
    """
    try:
        bundles, sources = _named_bundles(bundle), [_source(text) for text in dataset]
        training_data = {each.name: _training_data(each.place) for each in bundles}
        measured = _measure(bundles, sources, out, device, quiet)
        _, _, as_markdown = write_transfer(out, collect_transfer(measured, training_data, __version__))
    except SCORING_ERRORS as error:
        complain("transfer", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("transfer", f"a file cannot be read or written ({error.strerror}); check the folders and --out")
        return ExitCode.USAGE
    if not quiet:
        ERRORS.print(as_markdown.read_text(encoding="utf-8"), markup=False)
    incomplete = any(metrics.studies_without_results for metrics in measured.values())
    return ExitCode.SOME_FILES_FAILED if incomplete else ExitCode.ALL_GOOD


def _measure(
    bundles: list[NamedBundle],
    sources: list[Source],
    out: Path,
    device: Literal["auto", "cpu", "cuda", "mps"],
    quiet: bool,
) -> dict[tuple[str, str], MetricsFile]:
    """Metrics by set and data set. All data sets are opened before any is analysed: a mistake then shows at once."""
    references = {_title(source): (source, read_reference(source, out / _title(source), quiet)) for source in sources}
    if len(references) < len(sources):
        raise EvaluationError("a data set is given twice with the same split; leave one out")
    measured: dict[tuple[str, str], MetricsFile] = {}
    for title, (source, reference) in references.items():
        for each in bundles:
            method = Method(bundle=each.place, device=device, baseline_patients=0)
            folder = out / title / each.name
            measured[each.name, title] = _score(source, reference, method, folder, quiet)
    return measured


def _score(source: Source, reference: ReferenceSet, method: Method, folder: Path, quiet: bool) -> MetricsFile:
    written = read_predictions(analyze_studies(reference, method, folder, quiet))
    metrics, cases = score_predictions(reference, written, views_given=method.gives_views(source.dataset))
    write_cases(folder / CASES_FILE, cases)
    write_bytes_atomically(folder / METRICS_FILE, (metrics.model_dump_json(indent=1) + "\n").encode())
    return metrics


def _named_bundles(texts: list[str]) -> list[NamedBundle]:
    """``phantom``, ``runs/camus/bundles`` (called ``camus``) or ``mine=runs/camus/bundles``."""
    found = []
    for text in texts:
        name, is_named, place = text.rpartition("=")
        path = Path(place)
        usual = path.parent.name if path.name == "bundles" and path.parent.name else path.name
        found.append(NamedBundle(name if is_named else usual, place))
    names = [each.name for each in found]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or not all(name and "/" not in name and not name.startswith(".") for name in names):
        wrong = f"two sets are called {doubled[0]}" if doubled else f"{', '.join(names)} do not all name a folder"
        raise EvaluationError(f"{wrong}; give each a short name of its own, --bundle NAME=FOLDER")
    return found


def _source(text: str) -> Source:
    """``camus=FOLDER`` or ``camus:val=FOLDER``."""
    words, _, root = text.partition("=")
    name, _, split = words.partition(":")
    known = name.replace("-", "_")
    if not root or known not in get_args(DatasetName):
        problem = f"there is no data set {name!r}" if root else f"--dataset {text}: no folder is given"
        raise EvaluationError(f"{problem}; give NAME=FOLDER, NAME being one of {', '.join(get_args(DatasetName))}")
    return Source(dataset=known, root=Path(root), split=split)  # type: ignore[arg-type]


def _title(source: Source) -> str:
    return f"{source.dataset} {source.split}".strip()


def _training_data(place: str) -> TrainingData:
    """What taught each application of a set: its encoder and its decoder, by their cards."""
    from echoapex.models.bundle import BundleError, read_card
    from echoapex.models.registry import find_set

    try:
        paths = find_set(place)
        tasks = {application: paths.find_task(application.value) for application in Application}
        return {
            application: tuple(
                dict.fromkeys((*read_card(task.encoder).training_data, *read_card(task.decoder).training_data))
            )
            for application, task in tasks.items()
        }
    except BundleError as error:
        raise EvaluationError(str(error)) from error
