"""Pretraining through the one training loop: exact resume with teacher and all, and a loss that falls."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_pretraining import build_pretrain, crop_source

from echoapex.tasks.pretrain import Pretrain
from echoapex.train.journal import read_journal
from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train


def config(steps: int, **changes: object) -> TrainConfig:
    values = {"steps": steps, "checkpoint_every": 3, "log_every": 1, "optim": OptimConfig(lr=1e-3, warmup_steps=2)}
    return TrainConfig(**{**values, **changes})


def pretraining(directory: Path, store: Path) -> Run:
    directory.mkdir(exist_ok=True)
    return Run(build_pretrain(), crop_source(store), None, 0, directory, {"name": "tiny"})


class StoppedError(RuntimeError):
    """Stands for a power cut."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_k_steps_equal_half_a_stop_a_resume_and_half(tmp_path: Path, precision: str) -> None:
    straight = pretraining(tmp_path / "straight", tmp_path)
    train(straight, config(6, precision=precision))

    def stop_in_the_fifth(step: int, total: int, loss: object) -> None:
        if step == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(pretraining(tmp_path / "halves", tmp_path), config(6, precision=precision), stop_in_the_fifth)
    steps: list[int] = []
    resumed = pretraining(tmp_path / "halves", tmp_path)
    train(resumed, config(6, precision=precision), lambda step, total, loss: steps.append(step))
    assert steps == [3, 4, 5]
    first, second = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("straight", "halves"))
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    losses = [
        [entry["loss"] for entry in read_journal(tmp_path / run / "journal.jsonl")] for run in ("straight", "halves")
    ]
    assert losses[0] == losses[1]


def test_the_checkpoint_holds_the_teacher_and_the_count_but_no_moments_of_the_teacher(tmp_path: Path) -> None:
    run = pretraining(tmp_path / "run", tmp_path)
    train(run, config(3))
    assert isinstance(run.task, Pretrain)
    saved = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert int(saved["task.updates"]) == 3
    for name, parameter in run.task.teacher.named_parameters():
        assert torch.equal(saved[f"task.teacher.{name}"], parameter)
    assert not any(name.startswith("average.teacher") for name in saved)
    moments = {name.split(".")[1] for name in saved if name.startswith("optimizer.")}
    assert len(moments) <= len(list(run.task.student.parameters()))


def test_the_loss_falls(tmp_path: Path) -> None:
    train(pretraining(tmp_path / "run", tmp_path), config(25, checkpoint_every=100))
    dino = [entry["dino"] for entry in read_journal(tmp_path / "run" / "journal.jsonl")]
    assert sum(dino[-5:]) < 0.9 * sum(dino[:5])
