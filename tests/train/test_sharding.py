"""Parameters divided over two processes learn what one process learns, and their checkpoint fits any number."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_pretraining import build_pretrain, crop_source
from tiny_tasks import build_tasks
from torch.distributed.tensor import DTensor
from two_processes import run_two, take_rank

from echoapex.models.encoder import EncoderConfig
from echoapex.train.distributed import DistributedError, Processes, gather_into, joined_processes, shard
from echoapex.train.journal import read_journal
from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train

STEPS = 4
CONFIG = TrainConfig(
    steps=STEPS, precision="fp32", checkpoint_every=2, log_every=1, parallel="fsdp",
    optim=OptimConfig(lr=1e-3, warmup_steps=2),
)  # fmt: skip


def pretraining(directory: Path, store: Path, processes: Processes) -> Run:
    """Without stochastic depth, which every process draws for itself."""
    directory.mkdir(exist_ok=True)
    task = build_pretrain(encoder=EncoderConfig(image_size=48))
    if processes.count > 1:
        shard(task, torch.device("cpu"), processes)
        processes = Processes(processes.rank, processes.count, sharded=True)
    return Run(task, crop_source(store), None, 0, directory, {"name": "tiny"}, processes)


def _one_of_two(rank: int, folder: str, port: int) -> None:
    take_rank(rank, port)
    place = Path(folder)
    with joined_processes("cpu") as processes:
        run = pretraining(place / "divided", place, processes)
        parameters = list(run.task.parameters())
        assert all(isinstance(parameter, DTensor) for parameter in parameters)
        held = sum(parameter.to_local().numel() for parameter in parameters if isinstance(parameter, DTensor))
        total = sum(parameter.numel() for parameter in parameters)
        assert held < 0.6 * total, "each process holds a share"
        train(run, CONFIG)
        plain = build_pretrain(encoder=EncoderConfig(image_size=48)) if rank == 0 else None
        gather_into(plain, run.task)
        if plain is not None:
            saved = load_file(place / "divided" / "checkpoint.safetensors")
            assert torch.equal(plain.updates, saved["task.updates"])
            teacher = {f"task.{name}": value for name, value in plain.named_parameters() if name.startswith("teacher")}
            assert all(torch.equal(saved[name], value) for name, value in teacher.items())
        # as many steps more, from what was saved
        longer = CONFIG.model_copy(update={"steps": STEPS + 1})
        steps: list[int] = []
        train(pretraining(place / "divided", place, processes), longer, lambda step, total, loss: steps.append(step))
        assert steps == ([STEPS] if rank == 0 else [])
        processes.wait()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by one process and divided over two; one goes on with what two have saved."""
    folder = tmp_path_factory.mktemp("runs")
    crop_source(folder)
    train(pretraining(folder / "one", folder, Processes()), CONFIG)
    run_two(_one_of_two, folder)
    return folder


def test_divided_parameters_have_the_losses_of_one_process(runs: Path) -> None:
    one, divided = (read_journal(runs / name / "journal.jsonl") for name in ("one", "divided"))
    assert [entry["step"] for entry in divided] == list(range(STEPS + 1)), "one process writes"
    for name in ("loss", "dino", "ibot", "koleo"):
        expected = [entry[name] for entry in one]
        assert [entry[name] for entry in divided[:STEPS]] == pytest.approx(expected, rel=1e-4, abs=2e-5)


def test_what_two_have_saved_one_goes_on_with(runs: Path) -> None:
    shutil.copytree(runs / "divided", runs / "resumed")
    longer = CONFIG.model_copy(update={"steps": STEPS + 2})
    steps: list[int] = []
    train(pretraining(runs / "resumed", runs, Processes()), longer, lambda step, total, loss: steps.append(step))
    assert steps == [STEPS + 1]


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(
        DistributedError, match=r"MultiTask cannot be divided over processes; set train\.parallel to ddp"
    ):
        shard(build_tasks().multitask, torch.device("cpu"), Processes(0, 2))
    with pytest.raises(DistributedError, match="one process has nobody to share with"):
        shard(build_pretrain(), torch.device("cpu"), Processes())
