"""``echoapex evaluate``: score an analysis of a data set, or results that were written earlier.

Analyses every study of a reference with one set of models, each into a folder of its own.

The scores of an evaluation as a table for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, Token, convert
from cyclopts.validators import Number
from rich.progress import track
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, complain, examples
from echoapex.data.datasets.records import DatasetError
from echoapex.domain import StudyReport
from echoapex.evaluate.baseline_pixels import classify_phantom_studies, fit_pixel_baseline
from echoapex.evaluate.cases import Cases, write_cases
from echoapex.evaluate.comparison import Comparison, ComparisonFile, compare_cases
from echoapex.evaluate.dataset_truth import read_dataset_reference
from echoapex.evaluate.harness import headlines, score_balanced_accuracy, score_predictions
from echoapex.evaluate.metrics_file import MetricsFile, Score
from echoapex.evaluate.reference import (
    PredictionError,
    ReferenceClip,
    ReferenceSet,
    ReferenceSetError,
    read_predictions,
)
from echoapex.evaluate.truth import pack_camus, phantom_patient, phantom_studies, read_phantom_reference
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.infer.study.records import KnownClip
from echoapex.io.clip_source import ReadError
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.phantom.truth import TruthError

app = App(
    name="evaluate",
    help="Score an analysis against a reference data set.",
    help_epilogue=examples(
        "echoapex evaluate --dataset phantom --root studies/ --out scores/",
        "echoapex evaluate --dataset camus --root CAMUS/ --predictions results/ --out scores/",
    ),
)

DatasetName = Literal[
    "phantom",
    "camus",
    "echonet_dynamic",
    "echonet_pediatric",
    "echonet_lvh",
    "tmed2",
    "mimic_iv_echo",
    "unity",
    "hmc_qu",
    "folder",
    "corrections",
]
GIVEN_VIEW_DATASETS = ("camus", "echonet_dynamic", "echonet_pediatric", "echonet_lvh")
METRICS_FILE, CASES_FILE, INPUT_FOLDER = "metrics.json", "cases.csv", "inputs"
COMPARISON_FILE = "comparison.json"


def _named_dataset(kind: type, tokens: Sequence[Token]) -> object:
    """``echonet-dynamic`` is ``echonet_dynamic``."""
    return convert(kind, [tokens[0].value.replace("-", "_")])


class EvaluationError(ValueError):
    """An evaluation that cannot be done as asked; the message says what to change."""


SCORING_ERRORS = (DatasetError, EvaluationError, PredictionError, ReadError, ReferenceSetError, TruthError)
"""What can be wrong with data sets and results; each message is for people."""


@Parameter(name="*")
@dataclass(frozen=True)
class Source:
    """What to score.

    Attributes:
        dataset: studies of `echoapex phantom`, or a data set of `echoapex datasets` in its official layout.
        root: folder of the data set.
        split: one of the data set's own, or all. When left out: val of CAMUS, TEST of EchoNet-Dynamic, test of
            EchoNet-LVH and TMED-2, val of corrections, all of the others. Phantom: train or held_out, or all.
        predictions: results written earlier, one folder per study; without it the studies are analysed first.
        against: results of another method on the same studies, for a paired comparison.
    """

    dataset: Annotated[DatasetName, Parameter(converter=_named_dataset)]
    root: Path
    split: str = ""
    predictions: Path | None = None
    against: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class EvaluationMethod:
    """How to analyse.

    Attributes:
        bundle: name or folder of the set of weights.
        device: where the models run.
        views: whether the analysis finds the view or gets the true one. auto: it gets the true view for CAMUS and the
            EchoNet data sets, which test something else.
        baseline_patients: number of simulated patients to fit the pixel baseline on; 0 leaves it out. For phantom only.
    """

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    views: Literal["auto", "find", "given"] = "auto"
    baseline_patients: Annotated[int, Parameter(validator=Number(gte=0, lte=100_000))] = 100

    def gives_views(self, dataset: str) -> bool:
        """Whether the analysis gets the true views of this data set."""
        return self.views == "given" or (self.views == "auto" and dataset in GIVEN_VIEW_DATASETS)


@app.default
def evaluate(*, source: Source, out: Path, method: EvaluationMethod | None = None, quiet: bool = False) -> int:
    """Score an analysis against a reference data set.

    Writes metrics.json (every metric with n and a 95 % interval) and cases.csv (the single cases). With --against it
    also writes comparison.json (differences, paired by case). Finished studies are not analysed again: the same
    command completes an interrupted run.

    Args:
        source: what to score.
        out: folder for metrics.json, cases.csv and the results of the analysis.
        method: how to analyse.
        quiet: show neither progress nor the summary.
    """
    method = method or EvaluationMethod()
    try:
        reference = read_reference(source, out, quiet)
        predictions = source.predictions or analyze_studies(reference, method, out, quiet)
        written = read_predictions(predictions)
        baseline = _score_baseline(source, method, reference)
        given = method.gives_views(source.dataset)
        metrics, cases = score_predictions(reference, written, baseline_views=baseline, views_given=given)
        write_cases(out / CASES_FILE, cases)
        write_bytes_atomically(out / METRICS_FILE, (metrics.model_dump_json(indent=1) + "\n").encode())
        compared = _compare(source.against, reference, metrics, cases, out) if source.against is not None else None
    except SCORING_ERRORS as error:
        complain("evaluate", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("evaluate", f"a file cannot be read or written ({error.strerror}); check --root and --out")
        return ExitCode.USAGE
    if not quiet:
        _summarise(metrics, out, compared)
    return ExitCode.SOME_FILES_FAILED if metrics.studies_without_results else ExitCode.ALL_GOOD


def read_reference(source: Source, out: Path, quiet: bool = False) -> ReferenceSet:
    """Open a data set; what has to be packed first goes below ``out``.

    Raises:
        DatasetError, ReferenceSetError, TruthError: it cannot be read, or nothing in it can be scored.
    """
    if source.dataset == "phantom":
        return read_phantom_reference(source.root, split=source.split)
    if source.dataset == "camus":
        return pack_camus(source.root, source.split or "val", out / INPUT_FOLDER)
    with nullcontext() if quiet or not ERRORS.is_terminal else ERRORS.status("Opening the listed clips"):
        return read_dataset_reference(source.dataset, source.root, source.split)


def analyze_studies(reference: ReferenceSet, method: EvaluationMethod, out: Path, quiet: bool) -> Path:
    """Analyse all studies; returns the folder of their results.

    Raises:
        EvaluationError: the weights or the device are not there.
    """
    # models load slowly, and nothing else here needs them
    from echoapex.infer.clip.models import TaskInterpreter
    from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter
    from echoapex.models.bundle import BundleError
    from echoapex.models.precision import DeviceError, choose_device, choose_precision
    from echoapex.models.registry import find_set

    give_views = method.gives_views(reference.dataset)
    folder = out / (GIVEN_VIEWS if give_views else FOUND_VIEWS)
    try:
        device = choose_device(method.device)
        precision = choose_precision("auto", device).name
        interpreter = TaskInterpreter.load(method.bundle, method.device, precision)
        models = NamedInterpreter(interpreter, find_set(method.bundle).name, str(device), precision)
        for _ in track(
            analyze_reference(reference, models, folder, give_views=give_views),
            description="Analysing",
            total=len(reference.studies),
            console=ERRORS,
            disable=quiet or not ERRORS.is_terminal,
        ):
            pass
    except (AnalysisError, BundleError, DeviceError) as error:
        raise EvaluationError(str(error)) from error
    return folder


def _score_baseline(source: Source, method: EvaluationMethod, reference: ReferenceSet) -> Score | None:
    """Balanced accuracy of the pixel baseline on the same studies; None where it is not asked for or not defined."""
    if source.dataset != "phantom" or not method.baseline_patients or method.gives_views(source.dataset):
        return None
    patients = {study.patient for study in reference.studies}
    # studies of training patients may be scored too, but never by a baseline that was fitted on them
    seeds = (seed for seed in count() if phantom_patient(seed) not in patients)
    baseline = fit_pixel_baseline(list(islice(seeds, method.baseline_patients)))
    cases = classify_phantom_studies(baseline, phantom_studies(source.root))
    return score_balanced_accuracy([case for case in cases if case.patient in patients])


def _compare(against: Path, reference: ReferenceSet, metrics: MetricsFile, cases: Cases, out: Path) -> ComparisonFile:
    """Hold the results of another method against the same reference, and these against those."""
    other, other_cases = score_predictions(reference, read_predictions(against))
    compared = ComparisonFile(
        dataset=reference.dataset,
        first=other.bundles,
        second=metrics.bundles,
        comparisons=tuple(compare_cases(other_cases, cases)),
    )
    write_bytes_atomically(out / COMPARISON_FILE, (compared.model_dump_json(indent=1) + "\n").encode())
    return compared


def _summarise(metrics: MetricsFile, out: Path, compared: ComparisonFile | None) -> None:

    ERRORS.print(summary_table(metrics))
    if compared is not None:
        ERRORS.print(comparison_table(compared))
    for note in metrics.notes:
        ERRORS.print(note, markup=False, style="dim")
    ERRORS.print(f"{metrics.studies} studies, {metrics.clips} clips; see {out / METRICS_FILE}", markup=False)


_OPTIONS = AnalysisOptions(overlays=False)
FOUND_VIEWS, GIVEN_VIEWS = "predictions", "predictions_known_views"


def analyze_reference(
    reference: ReferenceSet, models: NamedInterpreter, out: Path, *, give_views: bool = False
) -> Iterator[StudyReport]:
    """Analyse study by study; the results of finished studies are reused.

    The analysis gets only this of the truth: the pixel size, if the data set has it and the file does not; which frames
    to outline besides those that it chooses (never their phase); and the view of every clip, if ``give_views``.

    Args:
        reference: the studies.
        models: what reads them.
        out: folder for one results folder per study.
        give_views: give the analysis the true view of every clip that has one.

    Yields:
        The reports, in order.
    """
    for study in reference.studies:
        known = {clip.sha256: _known(clip, give_views) for clip in study.clips}
        paths = [clip.path for clip in study.clips]
        yield StudyAnalyzer(models, _OPTIONS, known=known).run(paths, out / study.folder)


def _known(clip: ReferenceClip, give_views: bool) -> KnownClip:
    return KnownClip(clip.view if give_views else None, clip.spacing, clip.outlined_frames)


def summary_table(metrics: MetricsFile) -> Table:
    """One row per headline score: value, 95 % interval, cases, and how many got no answer."""
    table = Table("score", "value", "95 % interval", "n", "missing", title=None, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, _, score, digits in headlines(metrics):
        if score.n or score.missing:
            table.add_row(
                name, _number(score.value, digits), _interval(score, digits), str(score.n), str(score.missing)
            )
    return table


def comparison_table(compared: ComparisonFile) -> Table:
    """One row per metric: both means, their difference with its interval, and how sure it is."""
    table = Table(
        "paired comparison", "against", "this", "difference", "95 % interval", "p", "better", box=None, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in compared.comparisons:
        low, high = row.interval
        table.add_row(
            f"{row.metric} ({row.unit})" if row.unit else row.metric,
            f"{row.first:.3f}",
            f"{row.second:.3f}",
            f"{row.difference:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
            f"{row.p_bootstrap:.3f}",
            _better(row),
        )
    return table


def _better(row: Comparison) -> str:
    """Which of the two, where the interval leaves zero out."""
    low, high = row.interval
    if low <= 0 <= high:
        return "-"
    return "this" if (row.difference > 0) is row.higher_is_better else "against"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(score: Score, digits: int) -> str:
    return " to ".join(_number(end, digits) for end in score.interval) if score.interval else "-"
