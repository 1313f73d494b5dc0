"""Live curves of a run in TensorBoard or MLflow: they are told what the journal is told, and know nothing else."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from echoapex.train.journal import Listener

Tracker = Literal["tensorboard", "mlflow"]
_NOT_CURVES = ("step", "time")
_RUN_FILE = "mlflow-run.txt"


class TrackerError(ValueError):
    """A tracker that was asked for is not installed; the message says how to install it."""


@contextmanager
def open_trackers(names: Sequence[Tracker] | None, directory: Path, resume_step: int) -> Iterator[list[Listener]]:
    """The trackers of a run, closed at the end.

    Args:
        names: which; None is TensorBoard where it is installed.
        directory: of the run; TensorBoard writes into its folder ``tensorboard``, MLflow to where its own settings
            (``MLFLOW_TRACKING_URI``) say, and without them into its file ``mlflow.db``.
        resume_step: a resumed run goes on with the same curves; TensorBoard hides what was drawn beyond this step.

    Raises:
        TrackerError: one that is named is not installed.
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
    """The numbers of a journal entry by the name of their curve; validation figures are below ``validation/``."""
    found: dict[str, float] = {}
    for name, value in entry.items():
        if name == "scores":
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
    """A run of MLflow, or the one that this directory began before."""
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
