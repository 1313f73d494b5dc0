"""The journal of a run: one JSON line per entry, the source of every curve.

TensorBoard and MLflow receive the same entries as the journal.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

JOURNAL_FILE = "journal.jsonl"
BEFORE_FIRST_STEP = -1
"""The ``step`` of the entry with the validation figures of the weights that a run started from."""

Tracker = Literal["tensorboard", "mlflow"]
_NOT_CURVES = ("step", "time")
_RUN_FILE = "mlflow-run.txt"


class Listener(Protocol):
    """Receives every entry of the journal."""

    def tell(self, entry: Mapping[str, Any]) -> None:
        """Receive one entry, as written to the journal."""


class Journal:
    """Appends entries to ``journal.jsonl``; lines beyond the step a run resumes from are dropped."""

    def __init__(self, directory: Path, resume_step: int = 0, listeners: Sequence[Listener] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / JOURNAL_FILE
        self._listeners = listeners
        self._keep_before(resume_step)

    def write(self, step: int, **values: Any) -> None:
        """Append one entry."""
        entry = {"step": step, "time": round(time.time(), 1), **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        for listener in self._listeners:
            listener.tell(entry)

    def scores(self) -> list[dict[str, float]]:
        """The scores of all validations so far."""
        return [entry["scores"] for entry in read_journal(self.path) if "scores" in entry]

    def roll_back(self, step: int, number: int, reason: str) -> None:
        """Remove the entries after ``step`` updates, keep a copy in a separate file, and record the reason."""
        self.path.with_name(f"journal-before-rollback-{number}.jsonl").write_bytes(self.path.read_bytes())
        self._keep_before(step)
        self.write(step - 1, rollback=number, reason=reason)

    def _keep_before(self, step: int) -> None:
        kept = [entry for entry in read_journal(self.path) if int(entry["step"]) < step] if step > 0 else []
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")


class Clock:
    """Measures the duration of a run and its examples per second."""

    def __init__(self) -> None:
        self._started = self._read = time.monotonic()
        self._examples = 0

    def read(self, examples: int) -> dict[str, float]:
        """Seconds since the start, and examples per second since the last call; ``examples`` are those so far."""
        now = time.monotonic()
        rate = (examples - self._examples) / max(now - self._read, 1e-9)
        self._read, self._examples = now, examples
        return {"seconds": round(now - self._started, 1), "examples_per_s": round(rate, 2)}


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete entries of a journal; a line cut off by a crash is ignored."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


class ValidationFigures(NamedTuple):
    """Validation figures of a run: before its first update, where they were taken, and of the latest validation."""

    start: dict[str, float]
    latest: dict[str, float]


def read_figures(path: Path) -> ValidationFigures:
    """The first and the latest validation figures of a journal, also those of a stop; empty where there are none."""
    entries = read_journal(path)
    start: dict[str, float] = next((entry["start_scores"] for entry in entries if "start_scores" in entry), {})
    validations = (entry.get("scores", entry.get("stop_scores")) for entry in reversed(entries))
    latest: dict[str, float] = next((scores for scores in validations if scores is not None), {})
    return ValidationFigures(start, latest)


class TrackerError(ValueError):
    """A requested tracker is not installed; the message says how to install it."""


@contextmanager
def open_trackers(names: Sequence[Tracker] | None, directory: Path, resume_step: int) -> Iterator[list[Listener]]:
    """The trackers of a run, closed at the end.

    Args:
        names: which; None is TensorBoard where it is installed.
        directory: of the run; TensorBoard writes into its folder ``tensorboard``, MLflow to where its own settings
            (``MLFLOW_TRACKING_URI``) say, and without them into its file ``mlflow.db``.
        resume_step: a resumed run goes on with the same curves; TensorBoard hides what was drawn beyond this step.

    Raises:
        TrackerError: a named tracker is not installed.
    """
    wanted = names if names is not None else (("tensorboard",) if _installed("tensorboard") else ())
    with ExitStack() as stack:
        trackers: list[Listener] = []
        for name in wanted:
            if not _installed(name):
                raise TrackerError(
                    f"train.trackers names {name}, which is not installed; pip install 'echoapex[{name}]'"
                )
            opened = _tensorboard(directory, resume_step) if name == "tensorboard" else _mlflow(directory)
            trackers.append(stack.enter_context(opened))
        yield trackers


def curves(entry: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a journal entry by the name of their curve; validation scores are below ``validation/``."""
    found: dict[str, float] = {}
    for name, value in entry.items():
        if name in ("scores", "start_scores", "stop_scores"):
            found |= {f"validation/{score}": float(figure) for score, figure in value.items()}
        elif name not in _NOT_CURVES and isinstance(value, int | float):
            found[f"training/{name}"] = float(value)
    return found


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def tell(self, entry: Mapping[str, Any]) -> None:
        for name, value in curves(entry).items():
            self._writer.add_scalar(name, value, int(entry["step"]), walltime=float(entry["time"]))
        self._writer.flush()


class _MLflow:
    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def tell(self, entry: Mapping[str, Any]) -> None:
        milliseconds = int(1000 * float(entry["time"]))
        for name, value in curves(entry).items():
            self._client.log_metric(self._run_id, name, value, timestamp=milliseconds, step=int(entry["step"]))


@contextmanager
def _tensorboard(directory: Path, resume_step: int) -> Iterator[Listener]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory / "tensorboard"), purge_step=resume_step or None)
    try:
        yield _TensorBoard(writer)
    finally:
        writer.close()


@contextmanager
def _mlflow(directory: Path) -> Iterator[Listener]:
    """A new MLflow run, or the one that this directory started earlier."""
    from mlflow.tracking import MlflowClient

    home = None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{(directory / 'mlflow.db').resolve()}"
    client = MlflowClient(tracking_uri=home)
    note = directory / _RUN_FILE
    if note.exists():
        run_id = note.read_text(encoding="utf-8").strip()
    else:
        experiment = client.get_experiment_by_name("echoapex")
        number = experiment.experiment_id if experiment else client.create_experiment("echoapex")
        run_id = client.create_run(number, run_name=directory.name).info.run_id
        note.write_text(run_id + "\n", encoding="utf-8")
    try:
        yield _MLflow(client, run_id)
    finally:
        client.set_terminated(run_id)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
