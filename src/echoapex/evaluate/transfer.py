"""Several sets of weights on several data sets without adaptation: scores with intervals as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from echoapex.config import Config
from echoapex.evaluate.harness import headlines
from echoapex.evaluate.metrics_file import MetricsFile, Score
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Application

TRANSFER_VERSION = "1.0"
JSON_FILE, CSV_FILE, MARKDOWN_FILE = "transfer.json", "transfer.csv", "transfer.md"


class TransferScore(Config):
    """One headline score of one set of weights on one data set."""

    bundle: str
    dataset: str
    split: str
    metric: str
    application: Application
    digits: int
    score: Score


class TransferFile(Config):
    """Content of ``transfer.json``; ``training_data`` lists the training data by set of weights and application."""

    transfer_version: str = TRANSFER_VERSION
    echoapex_version: str
    training_data: dict[str, dict[Application, tuple[str, ...]]]
    notes: dict[str, tuple[str, ...]]
    scores: tuple[TransferScore, ...]


def collect_transfer(
    measured: Mapping[tuple[str, str], MetricsFile],
    training_data: Mapping[str, Mapping[Application, tuple[str, ...]]],
    version: str,
) -> TransferFile:
    """Build the table of all scores.

    Args:
        measured: metrics by set of weights and data set (as named in the table).
        training_data: training data by set of weights and application.
        version: version of EchoApex.
    """
    scores = [
        TransferScore(
            bundle=bundle,
            dataset=dataset,
            split=metrics.split,
            metric=headline.name,
            application=headline.application,
            digits=headline.digits,
            score=headline.score,
        )
        for (bundle, dataset), metrics in measured.items()
        for headline in headlines(metrics)
        if headline.score.n or headline.score.missing
    ]
    return TransferFile(
        echoapex_version=version,
        training_data={bundle: dict(by_task) for bundle, by_task in training_data.items()},
        notes={dataset: metrics.notes for (_, dataset), metrics in measured.items()},
        scores=tuple(scores),
    )


def write_transfer(folder: Path, table: TransferFile) -> tuple[Path, Path, Path]:
    """Write ``transfer.json``, ``transfer.csv`` (a row per score) and ``transfer.md`` (a column per set of weights)."""
    texts = {
        JSON_FILE: table.model_dump_json(indent=1) + "\n",
        CSV_FILE: _csv_text(table.scores),
        MARKDOWN_FILE: markdown_text(table),
    }
    as_json, as_csv, as_markdown = (
        write_bytes_atomically(folder / name, text.encode()) for name, text in texts.items()
    )
    return as_json, as_csv, as_markdown


def _csv_text(scores: Iterable[TransferScore]) -> str:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("bundle", "dataset", "split", "metric", "value", "low", "high", "n", "missing"))
    for each in scores:
        low, high = each.score.interval or (None, None)
        numbers = ("" if number is None else f"{number:.6g}" for number in (each.score.value, low, high))
        table.writerow((each.bundle, each.dataset, each.split, each.metric, *numbers, each.score.n, each.score.missing))
    return buffer.getvalue()


def markdown_text(table: TransferFile) -> str:
    """The table as Markdown: a row per data set and metric, a column per set; then training data and notes."""
    bundles = list(table.training_data)
    cells = {(each.dataset, each.metric, each.bundle): each for each in table.scores}
    rows = list(dict.fromkeys((each.dataset, each.metric) for each in table.scores))
    lines = [
        _row("data set", "score", *bundles),
        _row("---", "---", *("---:" for _ in bundles)),
        *(
            _row(dataset, metric, *(_cell(cells.get((dataset, metric, each))) for each in bundles))
            for dataset, metric in rows
        ),
        "",
        "Value, 95 % interval (patients resampled), cases; `missing` got no answer.",
        "",
        *(f"- `{bundle}` was taught by: {_taught(by_task)}" for bundle, by_task in table.training_data.items()),
        *(f"- {dataset}: {note}" for dataset, notes in table.notes.items() for note in notes),
    ]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _cell(each: TransferScore | None) -> str:
    """A score such as ``0.923 (0.910 to 0.936), n 60``; a dash if nothing was scored."""
    if each is None or each.score.value is None:
        return "-" if each is None else f"-, {each.score.missing} missing"
    score, digits = each.score, each.digits
    interval = " ({:.{d}f} to {:.{d}f})".format(*score.interval, d=digits) if score.interval else ""
    missing = f", {score.missing} missing" if score.missing else ""
    return f"{score.value:.{digits}f}{interval}, n {score.n}{missing}"


def _taught(by_task: Mapping[Application, Sequence[str]]) -> str:
    """The training data in words; applications with the same data are listed together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for application, data in by_task.items():
        together.setdefault(tuple(data), []).append(application.value)
    return "; ".join(f"{', '.join(tasks)}: {' + '.join(data)}" for data, tasks in together.items())
