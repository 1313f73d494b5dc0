"""``echoapex pretrain``: frames to an encoder by one command that resumes by itself; mistakes are one line."""

import contextlib
import os
import socket
from pathlib import Path

import pytest
import torch
from tiny_recipes import SHRINK, TRAIN, StartingPoint, as_arguments, shrink
from torch import multiprocessing

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.config import read_recipe
from echoapex.models.bundle import build_encoder_from, load_bundle, verify_bundle
from echoapex.recipes.runner import find_recipe
from echoapex.train.journal import read_journal

NAME = "pretrain_tiny_cpu"


def pretrain(out: Path, *more: str) -> int:
    task = SHRINK["pretrain"](read_recipe(find_recipe(NAME))["task"], StartingPoint(out, out))
    return run(["pretrain", NAME, *as_arguments({"task": task, "train": TRAIN}), *more, "--out", str(out)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert pretrain(out, "--quiet") == ExitCode.ALL_GOOD
    return out


def test_an_encoder_comes_out_with_its_card_and_its_journal(finished: Path) -> None:
    card = verify_bundle(finished / "bundles" / "encoder")
    assert card.kind == "encoder"
    assert card.name == "echoapex-tiny-pretrained"
    assert {"validation/effective_rank", "validation/prototype_entropy"} <= set(card.metrics)
    assert build_encoder_from(load_bundle(finished / "bundles" / "encoder")).config.image_size == 64
    entries = [entry for entry in read_journal(finished / "journal.jsonl") if "loss" in entry]
    assert [entry["step"] for entry in entries] == [0, 1, 2]
    assert {"dino", "ibot", "koleo"} <= set(entries[0])


def test_a_finished_run_is_not_trained_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = verify_bundle(finished / "bundles" / "encoder").files
    assert pretrain(finished) == ExitCode.ALL_GOOD
    told = capsys.readouterr()
    assert "step " not in told.err
    taught = "echoapex finetune phantom_multitask --task.encoder_bundle"
    assert f"{taught} {finished / 'bundles' / 'encoder'}" in told.err
    assert "effective_rank\t" in told.out
    assert verify_bundle(finished / "bundles" / "encoder").files == before


def test_the_encoder_can_be_started_from(finished: Path) -> None:
    start = f"--task.start={finished / 'bundles' / 'encoder'}"
    assert pretrain(finished.parent / "second", start, "--train.steps=1", "--quiet") == ExitCode.ALL_GOOD


def _one_of_two(rank: int, out: Path, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    with (out.parent / f"told-{rank}.txt").open("w") as told, contextlib.redirect_stdout(told):
        assert pretrain(out, "--quiet") == ExitCode.ALL_GOOD


def test_two_processes_make_one_run(finished: Path, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    multiprocessing.spawn(_one_of_two, (tmp_path / "two", port), nprocs=2)
    first, second = ((tmp_path / f"told-{rank}.txt").read_text() for rank in (0, 1))
    assert "effective_rank\t" in first
    assert second == ""
    assert verify_bundle(tmp_path / "two" / "bundles" / "encoder").cost.startswith("3 steps")
    assert "in each of 2 processes" in verify_bundle(tmp_path / "two" / "bundles" / "encoder").cost
    one, two = (read_journal(run / "journal.jsonl") for run in (finished, tmp_path / "two"))
    assert [entry["step"] for entry in two] == [entry["step"] for entry in one]
    losses = [next(entry["loss"] for entry in entries if "loss" in entry) for entries in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01), "before the first update, but for bf16"
    assert two[0]["start_scores"] == pytest.approx(one[0]["start_scores"], rel=0.05)


def test_the_encoder_can_be_taught_a_task(finished: Path) -> None:
    name, start = "phantom_ejection_fraction", StartingPoint(finished / "bundles", finished)
    out = finished.parent / "ef"
    assert (
        run(["finetune", name, *as_arguments(shrink(name, start)), "--quiet", "--out", str(out)]) == ExitCode.ALL_GOOD
    )
    digests = [load_bundle(place / "bundles" / "encoder").digest for place in (finished, out)]
    assert digests[0] == digests[1]


def test_a_loss_that_is_no_number_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ("--train.optim.lr=1e30", "--train.optim.clip_norm=1e30", "--train.steps=9", "--quiet")
    assert pretrain(finished.parent / "wild", *wild) == ExitCode.NOTHING_ANALYSED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("echoapex pretrain: step ")
    assert "the loss is nan" in line
    assert "'dino'" in line
    assert not (finished.parent / "wild" / "bundles").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pretrain_tiny"], "'pretrain_tiny': no such recipe"),
        (["phantom_multitask"], "task.kind is 'multitask', not 'pretrain'; run it with echoapex finetune"),
        ([NAME, "--task.schedule.momentom=1"], "schedule.momentom: unknown key; did you mean 'momentum'?"),
        ([NAME, "--task.start=nowhere"], "nowhere"),
        ([NAME, "--task.archives=[nowhere.lance]"], "nowhere.lance"),
    ],
)
def test_a_mistake_is_one_line_and_draws_nothing(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pretrain", *arguments, "--out", str(tmp_path / "runs" / "run")]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("echoapex pretrain: ")
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not list(tmp_path.rglob("stores"))
