"""Curves in TensorBoard and MLflow are those of the journal."""

import os
from pathlib import Path

import pytest
from straight_line import PointSource, StraightLine

from echoapex.train import journal
from echoapex.train.journal import TrackerError, curves, open_trackers, read_journal
from echoapex.train.trainer import Run, TrainConfig, train


def run_for(directory: Path, steps: int, *names: str) -> None:
    config = TrainConfig(steps=steps, precision="fp32", log_every=1, score_every=2, checkpoint_every=2, trackers=names)
    directory.mkdir(exist_ok=True)
    train(Run(StraightLine(), PointSource(), PointSource(), 1, directory, {"name": "tiny"}), config)


def test_numbers_of_an_entry_become_curves() -> None:
    entry = {"step": 3, "time": 1.0, "loss": 0.5, "seconds": 2, "reason": "words"}
    assert curves(entry) == {"training/loss": 0.5, "training/seconds": 2.0}
    assert curves({"step": 3, "time": 1.0, "scores": {"dice": 0.9}}) == {"validation/dice": 0.9}


def test_tensorboard_shows_the_journal_and_goes_on_after_a_resume(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_for(tmp_path / "run", 4, "tensorboard")
    run_for(tmp_path / "run", 7, "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    journal = read_journal(tmp_path / "run" / "journal.jsonl")
    losses = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert [step for step, _ in losses] == list(range(7))
    assert [value for _, value in losses] == pytest.approx([entry["loss"] for entry in journal if "loss" in entry])
    assert len(events.Scalars("validation/error")) == sum("scores" in entry for entry in journal)
    assert "training/examples_per_s" in events.Tags()["scalars"]


def test_mlflow_keeps_one_run_over_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_for(tmp_path / "run", 2, "mlflow")
    run_for(tmp_path / "run", 3, "mlflow")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    run_id = (tmp_path / "run" / "mlflow-run.txt").read_text().strip()
    history = client.get_metric_history(run_id, "training/loss")
    assert [metric.step for metric in history] == [0, 1, 2]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert not list(Path(os.curdir).glob("ml*.db")), "nothing beside the run"


def test_a_missing_tracker_is_one_line_only_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_installed", lambda name: False)
    with open_trackers(None, tmp_path, 0) as opened:
        assert opened == []
    with (
        pytest.raises(TrackerError, match=r"names mlflow, which is not installed; pip install 'echoapex\[mlflow\]'"),
        open_trackers(("mlflow",), tmp_path, 0),
    ):
        pass
