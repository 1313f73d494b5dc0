"""A run that goes wrong goes back to where it was well, takes other batches from there, and can be interrupted."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from straight_line import Points, PointSource, StraightLine

from echoapex.train.checkpoint import GOOD_FILE
from echoapex.train.journal import read_journal
from echoapex.train.monitor import DriftError, DriftGuardConfig, Health, judge
from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train

GUARD = DriftGuardConfig(
    floors={"health": 0.5}, patience=2, on_drift="rollback", most_rollbacks=2, rate_after_rollback=0.5
)
CONFIG = TrainConfig(
    steps=14, precision="fp32", log_every=1, score_every=2, checkpoint_every=3, guard=GUARD, trackers=(),
    optim=OptimConfig(lr=0.01, warmup_steps=0),
)  # fmt: skip


class Fragile(StraightLine):
    """Falls ill once it has met one of the bad batches, until it is taken back."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.register_buffer("illness", torch.zeros(()))
        self.bad = bad

    def loss(self, batch):
        if batch.number in self.bad:
            self.illness.fill_(1.0)
        return super().loss(batch)

    @torch.no_grad()
    def cases(self, batch):
        return {"health": 1.0 - self.illness[None]}

    def summarise(self, cases):
        return {"health": cases["health"].mean().item()}


@dataclass(frozen=True, eq=False)
class NumberedPoints(Points):
    """Points that know the number of their batch."""

    number: int = -1

    def to(self, device: torch.device) -> "NumberedPoints":
        return self


class Numbered(PointSource):
    """Says which batch is which."""

    def batch(self, step: int) -> NumberedPoints:
        points = super().batch(step)
        return NumberedPoints(points.x, points.y, step)


def fragile_run(directory: Path, bad: set[int]) -> tuple[Run, Numbered]:
    torch.manual_seed(0)
    source = Numbered()
    directory.mkdir(exist_ok=True)
    return Run(Fragile(bad), source, Numbered(), 1, directory, {"name": "fragile"}), source


def test_it_goes_back_and_leaves_the_bad_batches_out(tmp_path: Path) -> None:
    run, source = fragile_run(tmp_path / "run", {5})
    told: list[int] = []
    train(run, CONFIG, lambda step, total, loss: told.append(step))
    # scored good after 4 updates, ill after 6 and 8: back to 4, and on with the ninth batch
    assert told == [*range(8), *range(4, 14)]
    assert source.asked[8:] == [8, *range(8, 18)], "the ninth had been prepared ahead"
    assert float(run.task.illness) == 0
    journal = read_journal(tmp_path / "run" / "journal.jsonl")
    assert [entry["step"] for entry in journal if "loss" in entry] == list(range(14))
    (note,) = [entry for entry in journal if "rollback" in entry]
    assert note["step"] == 3
    assert "health was 0, 0, below its floor of 0.5" in note["reason"]
    before = read_journal(tmp_path / "run" / "journal-before-rollback-1.jsonl")
    assert [entry["step"] for entry in before if "loss" in entry] == list(range(8)), "what went wrong is kept"


def test_an_interruption_after_going_back_changes_nothing(tmp_path: Path) -> None:
    straight, _ = fragile_run(tmp_path / "straight", {5})
    train(straight, CONFIG)

    class StoppedError(RuntimeError):
        pass

    told: list[int] = []

    def stop(step: int, total: int, loss: object) -> None:
        told.append(step)
        if told.count(5) == 2:
            raise StoppedError

    halves, _ = fragile_run(tmp_path / "halves", {5})
    with pytest.raises(StoppedError):
        train(halves, CONFIG, stop)
    resumed, source = fragile_run(tmp_path / "halves", {5})
    train(resumed, CONFIG)
    assert source.asked[0] == 8, "the batches that were left out stay out"
    first, second = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("straight", "halves"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_gives_up_after_so_many(tmp_path: Path) -> None:
    run, _ = fragile_run(tmp_path / "run", set(range(5, 100)))
    with pytest.raises(DriftError, match="health was 0, 0"):
        train(run, CONFIG)
    assert (tmp_path / "run" / "journal-before-rollback-2.jsonl").exists()
    assert not (tmp_path / "run" / "journal-before-rollback-3.jsonl").exists()


def test_without_a_good_state_it_stops(tmp_path: Path) -> None:
    run, _ = fragile_run(tmp_path / "run", {0})
    with pytest.raises(DriftError):
        train(run, CONFIG)
    assert not (tmp_path / "run" / GOOD_FILE).exists()


def test_doubt_is_told_from_drift() -> None:
    well, ill = {"health": 1.0}, {"health": 0.0}
    assert judge([well], GUARD)[0] is Health.GOOD
    assert judge([well, ill], GUARD)[0] is Health.DOUBTFUL
    assert judge([ill, ill], GUARD)[0] is Health.DRIFTED
