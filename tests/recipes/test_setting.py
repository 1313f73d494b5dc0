"""Learning settings: what is trained, what is written, and that it answers the same when it is read back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_tasks import BLOCKS, PROVENANCE, frame_batch, multitask_recipe

from echoapex.config import ConfigError
from echoapex.models.bundle import BundleError, load_bundle
from echoapex.models.encoder import encode_clip, standardise
from echoapex.models.registry import SetPaths, find_set, import_set, verify_set
from echoapex.recipes.multitask import MultiTask
from echoapex.recipes.recipe import LearningSetting, count_trainable, parse_setting
from echoapex.tasks.trained_set import load_models
from echoapex.vocabulary import Application

ADAPTED = ["adapter", "lora", "bitfit"]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))


def trained(name: str, start: Path, steps: int = 3) -> MultiTask:
    """A few updates in a setting."""
    torch.manual_seed(0)
    recipe = multitask_recipe().model_copy(update={"start": start, "setting": LearningSetting(name=name)})
    task = recipe.build_task().train()
    optimizer = torch.optim.AdamW([p for group in task.parameter_groups() for p in group.parameters], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(frame_batch(4)).total.backward()
        optimizer.step()
    return task.eval()


def exported(name: str, start: Path, directory: Path) -> tuple[MultiTask, Path]:
    task = trained(name, start)
    recipe = multitask_recipe().model_copy(update={"start": start, "setting": LearningSetting(name=name)})
    recipe.export(task, directory, PROVENANCE)
    return task, directory


@pytest.mark.parametrize("name", ["frozen", *ADAPTED])
def test_the_encoder_stays_and_is_copied(name: str, saved_set: Path, tmp_path: Path) -> None:
    task, written = exported(name, saved_set, tmp_path / "set")
    assert load_bundle(written / "encoder").digest == load_bundle(saved_set / "encoder").digest
    base = load_bundle(saved_set / "encoder").state
    assert all(torch.equal(value, base[key]) for key, value in task.encoder.state_dict().items())
    assert not list(written.glob(".*")), "nothing is left over"
    assert {check.problem for check in verify_set(SetPaths("set", written))} == {""}


def test_full_changes_the_encoder(saved_set: Path, tmp_path: Path) -> None:
    _, written = exported("full", saved_set, tmp_path / "set")
    assert load_bundle(written / "encoder").digest != load_bundle(saved_set / "encoder").digest
    assert not (written / "segmentation" / "adapter").exists()


@pytest.mark.parametrize("name", ADAPTED)
def test_a_set_with_adapters_answers_as_it_was_trained(name: str, saved_set: Path, tmp_path: Path) -> None:
    task, written = exported(name, saved_set, tmp_path / "set")
    shutil.copytree(saved_set / "ejection_fraction", written / "ejection_fraction")
    models = load_models(written)
    view, ef = (models.encoders[each] for each in (Application.VIEW_CLASSIFICATION, Application.EJECTION_FRACTION))
    assert view.encoder is ef.encoder, "one encoder in memory"
    assert view.adapter is models.encoders[Application.SEGMENTATION].adapter, "and one adapter for three tasks"
    assert ef.adapter is None
    assert view.pass_key != ef.pass_key
    assert "set/segmentation/adapter" in models.digests
    pixels = frame_batch(2).pixels
    assert view.adapter is not None
    with torch.no_grad(), view.adapter.attached(view.encoder):
        tokens = view.encoder.forward_blocks(standardise(pixels), BLOCKS)[-1].patches
    with torch.no_grad():
        expected = task.encoder.forward_blocks(standardise(pixels), BLOCKS)[-1].patches
        plain = encode_clip(view.encoder, BLOCKS, pixels.numpy(), [0.0, 0.1]).tokens[-1].patches
    assert torch.allclose(tokens, expected, atol=0.02), "halved weights differ by rounding only"
    assert not torch.allclose(tokens, plain.float(), atol=0.05), "and the adapter does something"


def test_only_what_the_setting_names_learns(saved_set: Path) -> None:
    counts = {name: count_trainable(trained(name, saved_set, steps=0)) for name in ("full", "frozen", *ADAPTED)}
    assert counts["frozen"] < min(counts[name] for name in ADAPTED)
    assert max(counts[name] for name in ADAPTED) < counts["full"]


def test_a_set_with_adapters_is_imported_whole(saved_set: Path, tmp_path: Path) -> None:
    _, written = exported("lora", saved_set, tmp_path / "lora-set")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", written)
    for source, name in ((written, "from-folder"), (Path(packed), "from-zip")):
        import_set(source, name)
        assert find_set(name).find_task("segmentation").adapter is not None


def test_an_adapter_goes_on_from_where_it_was(saved_set: Path, tmp_path: Path) -> None:
    _, written = exported("lora", saved_set, tmp_path / "set")
    adapter = written / "segmentation" / "adapter"
    setting = LearningSetting(name="lora", start=adapter)
    recipe = multitask_recipe().model_copy(update={"start": saved_set, "setting": setting})
    task = recipe.build_task()
    assert task.adapter is not None
    state = load_bundle(adapter).state
    assert all(torch.equal(value, state[key]) for key, value in task.adapter.state_dict().items())
    assert all(parameter.requires_grad for parameter in task.adapter.parameters())
    fresh = recipe.model_copy(update={"setting": LearningSetting(name="lora")}).build_task()
    pixels = standardise(frame_batch(2).pixels)
    with torch.no_grad():
        went_on, began = (each.encoder.forward_blocks(pixels, BLOCKS)[-1].patches for each in (task, fresh))
    assert not torch.allclose(went_on, began, atol=0.05), "it is attached"


@pytest.mark.parametrize(
    ("name", "fresh", "message"),
    [("bitfit", False, "of the kind lora; give its setting"), ("lora", True, "and this one is fresh")],
)
def test_an_adapter_that_cannot_go_on_is_refused(
    name: str, fresh: bool, message: str, saved_set: Path, tmp_path: Path
) -> None:
    _, written = exported("lora", saved_set, tmp_path / "set")
    setting = LearningSetting(name=name, start=written / "segmentation" / "adapter")
    recipe = multitask_recipe().model_copy(update={"start": None if fresh else saved_set, "setting": setting})
    with pytest.raises(BundleError, match=message):
        recipe.build_task()


def test_an_adapter_of_another_encoder_does_not_go_on(saved_set: Path, tmp_path: Path) -> None:
    _, written = exported("lora", saved_set, tmp_path / "set")
    _, other = exported("full", saved_set, tmp_path / "other")
    setting = LearningSetting(name="lora", start=written / "segmentation" / "adapter")
    with pytest.raises(BundleError, match="encoder"):
        multitask_recipe().model_copy(update={"start": other, "setting": setting}).build_task()


def test_only_an_adapter_can_be_started_from() -> None:
    with pytest.raises(ValueError, match="the setting full has none"):
        LearningSetting(start=Path("adapter"))


def test_a_missing_or_foreign_adapter_is_refused(saved_set: Path, tmp_path: Path) -> None:
    _, written = exported("lora", saved_set, tmp_path / "set")
    shutil.rmtree(written / "segmentation" / "adapter")
    with pytest.raises(BundleError, match=r"was trained with the adapter .* but no adapter lies beside it"):
        find_set(written).find_task("segmentation").load()
    problems = [check.problem for check in verify_set(SetPaths("set", written)) if check.problem]
    assert len(problems) == 1 and "its adapter is missing or another one" in problems[0]


def test_a_setting_is_read_as_it_is_typed() -> None:
    assert parse_setting("frozen") == {"setting": {"name": "frozen"}}
    assert parse_setting("few-shot:20") == {"few_shot": {"clips": 20}}
    assert parse_setting("bitfit, few-shot:2.5%") == {"setting": {"name": "bitfit"}, "few_shot": {"percent": 2.5}}
    for wrong in ("lorra", "few-shot", "few-shot:many", "full:3", ""):
        with pytest.raises(ConfigError):
            parse_setting(wrong)
