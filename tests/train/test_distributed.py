"""Two processes learn what one learns, write once, resume as another number, and agree on what is no number."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn_clips import draw_store
from safetensors.torch import load_file
from straight_line import PointSource
from tiny_pretraining import build_pretrain, crop_source
from tiny_tasks import IMAGE_SIZE, build_tasks
from torch import nn
from two_processes import run_two, take_rank

from echoapex.data.frame_source import FrameSource, FrameSourceConfig
from echoapex.data.stores.clip_store import ClipStore
from echoapex.models.encoder import EncoderConfig
from echoapex.tasks.task import Loss
from echoapex.train.distributed import DistributedError, Processes, joined_processes
from echoapex.train.journal import read_journal
from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train

STEPS = 4
CONFIG = TrainConfig(
    steps=STEPS, precision="fp32", checkpoint_every=2, log_every=1, optim=OptimConfig(lr=1e-3, warmup_steps=2)
)


def pretraining(directory: Path, store: Path, processes: Processes) -> Run:
    """Without stochastic depth, which every process draws for itself."""
    directory.mkdir(exist_ok=True)
    task = build_pretrain(encoder=EncoderConfig(image_size=48))
    return Run(task, crop_source(store), None, 0, directory, {"name": "tiny"}, processes)


class _Seldom(nn.Module):
    """One layer learns from everything, the other from large numbers only."""

    def __init__(self, layers: nn.ModuleDict) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.layers["shared"](x)
        return result + self.layers["seldom"](x) if x.item() > 1 else result


def _one_of_two(rank: int, folder: str, port: int) -> None:
    take_rank(rank, port)
    place = Path(folder)
    with joined_processes("cpu") as processes:
        assert (processes.rank, processes.count, processes.is_first) == (rank, 2, rank == 0)
        told: list[int] = []
        train(pretraining(place / "two", place, processes), CONFIG, lambda step, total, loss: told.append(step))
        assert told == (list(range(STEPS)) if rank == 0 else [])
        both = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("shared", "seldom")})
        averaged = processes.averaging(_Seldom(both))
        averaged(torch.full((1, 1), 1.0 + rank)).sum().backward()
        found = [float(both[name].weight.grad) for name in ("shared", "seldom")]
        assert found == [1.5, 1.0], "what one process alone has a gradient for counts as zero in the other"
        _learn_from_labels(place, processes)
        bad = Loss(torch.tensor(float("nan") if rank else 1.0), {"dino": torch.tensor(float(rank))})
        mean = processes.mean_of(bad)
        assert mean.total.isnan(), "all processes learn of it, so that all of them stop"
        assert mean.terms["dino"] == 0.5
        processes.wait()


def _learn_from_labels(place: Path, processes: Processes) -> None:
    """A multitask whose wall points are in the share of one process at most, which changes from step to step."""
    torch.manual_seed(3)
    config = FrameSourceConfig(batch_size=2, sizes=((0, IMAGE_SIZE),), wall_probability=1.0)
    source = FrameSource([ClipStore(place / "labelled")], config)
    whole = source.batch(0)
    assert int(whole.has_walls.sum()) == 1
    task = build_tasks().multitask
    started = _total(task.wall.decoder)
    run = Run(task, source, None, 0, place / "supervised", {"name": "labels"}, processes)
    train(run, TrainConfig(steps=2, precision="fp32", average_decay=0.0, optim=OptimConfig(warmup_steps=0)))
    assert _total(task.wall.decoder) != started
    total = _total(task)
    assert processes.mean_of(Loss(total)).total == total, "both hold the same weights"


def _total(module: nn.Module) -> torch.Tensor:
    return torch.stack([parameter.detach().double().sum() for parameter in module.parameters()]).sum()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    crop_source(folder)
    draw_store(folder / "labelled", clips=6, size=IMAGE_SIZE)
    (folder / "supervised").mkdir()
    train(pretraining(folder / "one", folder, Processes()), CONFIG)
    run_two(_one_of_two, folder)
    return folder


def test_two_processes_have_the_losses_of_one(runs: Path) -> None:
    one, two = (read_journal(runs / name / "journal.jsonl") for name in ("one", "two"))
    assert [entry["step"] for entry in two] == list(range(STEPS)), "one process writes"
    for name in ("loss", "dino", "ibot", "koleo"):
        assert [entry[name] for entry in two] == pytest.approx([entry[name] for entry in one], rel=1e-4, abs=2e-5)


def test_two_processes_arrive_where_one_does(runs: Path) -> None:
    one, two = (load_file(runs / name / "checkpoint.safetensors") for name in ("one", "two"))
    fresh = dict(build_pretrain(encoder=EncoderConfig(image_size=48)).named_parameters())
    for part in ("student", "teacher"):
        names = [name for name in fresh if name.startswith(part)]
        moved = torch.cat([(one[f"task.{name}"] - fresh[name].detach()).flatten() for name in names]).norm()
        apart = torch.cat([(one[f"task.{name}"] - two[f"task.{name}"]).flatten() for name in names]).norm()
        assert moved > 0
        assert apart < 0.05 * moved


def test_a_run_of_two_goes_on_as_one(runs: Path) -> None:
    longer = CONFIG.model_copy(update={"steps": STEPS + 1})
    steps: list[int] = []
    shutil.copytree(runs / "two", runs / "resumed")
    train(pretraining(runs / "resumed", runs, Processes()), longer, lambda step, total, loss: steps.append(step))
    assert steps == [STEPS]


def test_shares_are_the_batch_and_uneven_ones_are_refused(tmp_path: Path) -> None:
    source = crop_source(tmp_path)
    whole = source.batch(3)
    parts = [Processes(rank, 2).share_of(source).batch(3) for rank in (0, 1)]
    for name in ("global_crops", "local_crops", "masked"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), getattr(whole, name))
    with pytest.raises(
        DistributedError,
        match=r"batch of 4 .* cannot be divided evenly among 3 processes; make task.frames.batch_size a mult",
    ):
        Processes(0, 3).share_of(source)
    with pytest.raises(DistributedError, match="batches of PointSource cannot be shared among 2 processes"):
        Processes(1, 2).share_of(PointSource())


def test_one_process_changes_nothing() -> None:
    with joined_processes("cpu") as processes:
        assert processes == Processes(0, 1)
        loss = Loss(torch.tensor(2.0))
        assert processes.mean_of(loss) is loss
        processes.wait()
    assert replace(processes, rank=1).is_first is False
