"""A checkpoint restores everything that changes from step to step, or says in one line why it cannot."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from straight_line import PointSource, StraightLine

from echoapex.train.checkpoint import (
    Checkpoint,
    CheckpointError,
    Position,
    differing_keys,
    load_checkpoint,
    read_precision,
    require_same_recipe,
    save_checkpoint,
)
from echoapex.train.optim import OptimConfig, WeightAverage, build_optimizer

RECIPE = {"task": {"kind": "line", "place": "a"}, "train": {"steps": 3, "seed": 0}}
ABOUT = {"recipe": json.dumps(RECIPE), "precision": "bf16"}


def new_parts() -> Checkpoint:
    task = StraightLine()
    return Checkpoint(task, build_optimizer(task, OptimConfig()), WeightAverage(task, 0.9))


def trained_parts(steps: int = 3) -> Checkpoint:
    parts = new_parts()
    for step in range(steps):
        parts.task.loss(PointSource().batch(step)).total.backward()
        parts.optimizer.step()
        parts.task.after_step(step)
        parts.average.update(parts.task, step)
    return parts


def written(tmp_path: Path) -> tuple[Path, Checkpoint]:
    parts = trained_parts()
    save_checkpoint(tmp_path / "checkpoint.safetensors", parts, Position(3, 1, 5), ABOUT)
    return tmp_path / "checkpoint.safetensors", parts


def test_writing_takes_no_memory_for_a_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(
        "echoapex.train.checkpoint.save_file", lambda tensors, path, _: handed.update(tensors) or path.touch()
    )
    _, parts = written(tmp_path)
    own = {parameter.data_ptr() for parameter in parts.task.parameters()}
    own |= {value.data_ptr() for value in parts.average.state.values()}
    own |= {value.data_ptr() for state in parts.optimizer.state_dict()["state"].values() for value in state.values()}
    large = {name: tensor.data_ptr() for name, tensor in handed.items() if tensor.ndim}
    assert large
    assert set(large.values()) <= own


def test_weights_buffers_moments_and_average_come_back(tmp_path: Path) -> None:
    path, before = written(tmp_path)
    torch.manual_seed(99)
    after = new_parts()
    assert load_checkpoint(path, after, RECIPE) == Position(3, 1, 5)
    for name, value in before.task.state_dict().items():
        assert torch.equal(after.task.state_dict()[name], value), name
    assert after.task.steps_seen == 3
    for name, value in before.average.state.items():
        assert torch.equal(after.average.state[name], value)
    moments, again = before.optimizer.state_dict()["state"], after.optimizer.state_dict()["state"]
    assert moments.keys() == again.keys() == {0, 1}
    for number, state in moments.items():
        assert state.keys() == again[number].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(state[name], again[number][name]) for name in state)


def test_a_checkpoint_replaces_the_last_one_in_one_step(tmp_path: Path) -> None:
    path, parts = written(tmp_path)
    save_checkpoint(path, parts, Position(4), ABOUT)
    assert load_checkpoint(path, new_parts(), RECIPE) == Position(4)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def refusal(path: Path, **changes: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, new_parts(), {**RECIPE, **changes})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    told = refusal(path, task={"kind": "curve", "place": "a"}, train={"steps": 9, "seed": 1})
    assert 'written by another recipe: task.kind was "line" and is now "curve"; also differ: train.seed; use a' in told
    assert require_same_recipe(path, RECIPE) == 3


def test_more_steps_extend_a_run_and_fewer_are_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    longer, shorter = ({**RECIPE, "train": {"steps": steps, "seed": 0}} for steps in (5, 2))
    assert load_checkpoint(path, new_parts(), longer).step == 3
    assert "train.steps was 3 and is now 2" in refusal(path, **shorter)


def test_a_key_that_only_one_recipe_has_is_named() -> None:
    assert differing_keys({"a": {"b": 1, "c": [1]}}, {"a": {"c": [1], "d": None}, "e": 2}) == {
        "a.b": (1, None),
        "e": (None, 2),
    }


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    save_file(load_file(path), path, {"step": "3", "recipe": "0123abcd"})
    assert "written by an earlier version; use a new --out" in refusal(path)


def test_the_precision_that_a_run_began_with_is_kept(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    assert read_precision(path) == "bf16"


@pytest.mark.parametrize("damage", ["empty", "truncated", "noise"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "noise": b"\xff" * 64}[damage])
    assert "is damaged" in refusal(path)


def test_tensors_of_another_task_are_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    metadata = {"step": "3", **ABOUT}
    whole = load_file(path)
    save_file({name: value for name, value in whole.items() if name != "task.intercept"}, path, metadata)
    assert "does not fit this task" in refusal(path)
    save_file({**whole, "task.intercept": torch.zeros(5)}, path, metadata)
    assert "does not fit this task" in refusal(path)
    save_file({name: value for name, value in whole.items() if name != "average.intercept"}, path, metadata)
    assert "does not fit this task" in refusal(path)
