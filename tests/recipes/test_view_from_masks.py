"""Outlines are drawn once and resumed, the set stays as it was but for the new branch, and strangers are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tasks import BLOCKS, IMAGE_SIZE, PROVENANCE, build_tasks, multitask_recipe

from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.infer.interactive.clicks import InteractiveSegmenter
from echoapex.models import registry
from echoapex.models.adapter_merge import merge_adapter
from echoapex.models.bundle import BundleError, load_bundle, read_card, update_card
from echoapex.models.decoders.linear import ViewFromMasksConfig
from echoapex.models.encoder import EncodedClip, encode_clip
from echoapex.models.registry import SetPaths, verify_set
from echoapex.recipes.multitask import MultiTaskRecipe
from echoapex.recipes.recipe import LearningSetting, Workspace
from echoapex.recipes.view_from_masks import ViewFromMasksRecipe, moved
from echoapex.tasks.trained_set import load_models, load_view_model
from echoapex.vocabulary import View


def clips(first_seed: int) -> PhantomStoreConfig:
    return PhantomStoreConfig(
        first_seed=first_seed, patients=2, views=(View.A4C, View.PLAX), frames=2, labelled=2, native_size=96,
        size=IMAGE_SIZE,
    )  # fmt: skip


def recipe_on(start: Path, **changes: Any) -> ViewFromMasksRecipe:
    values: dict[str, Any] = {
        "start": str(start), "decoder": ViewFromMasksConfig(side=8, width=4), "stores": {"views": clips(0)},
        "validation": clips(190_000), "drawn": 30, "batch_size": 8,
    }  # fmt: skip
    return ViewFromMasksRecipe(**values | changes)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"), 1, lambda what, done, total: None)


def test_outlines_are_drawn_once_and_taken_up_where_they_stopped(saved_set: Path, workspace: Workspace) -> None:
    first = recipe_on(saved_set).build(workspace).batches.batch(0)
    parts = sorted((workspace.directory / "features").glob("outlines-*/part-*.npz"))
    assert len(parts) == 2, "30 frames in runs of 24"
    written = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    again = recipe_on(saved_set).build(workspace).batches.batch(0)
    assert parts[0].stat().st_mtime_ns == written[0]
    assert parts[1].exists()
    assert torch.equal(first.maps, again.maps)
    assert len(first) == 8


def test_training_frames_lose_structures_and_validation_frames_do_not(saved_set: Path, workspace: Workspace) -> None:
    workload = recipe_on(saved_set, lost=0.5, shift=0).build(workspace)
    gone = workload.batches.batch(0).maps.flatten(2).amax(dim=2) == 0
    assert 0.2 < gone.float().mean() < 0.8
    assert (workload.validation.batch(0).maps.flatten(2).amax(dim=2) > 0).all()
    assert workload.validation_batches == 1
    assert len(workload.validation.batch(0)) == 8, "both labelled frames of each of the four clips"


def test_a_step_teaches_the_outline_decoder_alone(saved_set: Path, workspace: Workspace) -> None:
    workload = recipe_on(saved_set).build(workspace)
    loss = workload.task.loss(workload.batches.batch(0)).total
    loss.backward()
    assert all(parameter.grad is not None for parameter in workload.task.parameters())
    scores = workload.task.score(workload.validation.batch(0))
    assert set(scores) == {
        "view_appearance_accuracy", "view_outlines_accuracy", "view_frame_accuracy", "view_temperature",
    }  # fmt: skip


def test_maps_move_by_whole_cells_and_nothing_comes_in() -> None:
    maps = np.arange(16.0).reshape(1, 4, 4)
    assert np.array_equal(moved(maps, 0, 0), maps)
    assert moved(maps, 1, 0)[0].tolist() == [[0] * 4, *maps[0, :3].tolist()]
    assert moved(maps, -2, 1)[0].tolist() == [[0, 8, 9, 10], [0, 12, 13, 14], [0] * 4, [0] * 4]


@pytest.fixture(scope="module")
def outlined(saved_set: Path, workspace: Workspace) -> Path:
    """The set with a view classification that reads outlines."""
    recipe = recipe_on(saved_set)
    torch.manual_seed(0)
    recipe.export(recipe.build(workspace).task, directory := workspace.directory / "outlined", PROVENANCE)
    return directory


def test_the_written_set_is_the_old_one_with_a_second_branch(
    saved_set: Path, outlined: Path, encoded: EncodedClip
) -> None:
    assert {check.problem for check in verify_set(SetPaths("outlined", outlined))} == {""}
    for name in ("encoder", "segmentation", "lv_wall", "ejection_fraction"):
        assert load_bundle(outlined / name).digest == load_bundle(saved_set / name).digest
    models = load_models(outlined)
    assert models.view_classification.mask_branch is not None
    assert load_view_model(SetPaths("outlined", outlined)).task.mask_branch is None
    tokens = encode_clip(models.view_classification.encoder, BLOCKS, encoded.pixels.numpy(), encoded.times_s.tolist())
    plain = load_models(saved_set).view_classification.predict(tokens).probabilities
    assert models.view_classification.predict(tokens).probabilities != pytest.approx(plain, abs=1e-4)


def test_views_of_another_set_keep_the_segmentation_they_were_taught_with(
    saved_set: Path, outlined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_models(outlined)
    assert own.view_classification.mask_branch is not None
    assert own.view_classification.mask_branch.segmenter is own.segmentation.decoder, "not read twice"
    shutil.copytree(outlined, tmp_path / "shipped" / "phantom")
    monkeypatch.setattr(registry, "_SHIPPED", tmp_path / "shipped")
    multitask_recipe().export(build_tasks(seed=7).multitask, part := tmp_path / "part", PROVENANCE)
    for name in ("view_classification", "lv_wall"):
        shutil.rmtree(part / name)
    mixed = load_models(part)
    assert mixed.view_classification.mask_branch is not None
    assert mixed.view_classification.mask_branch.segmenter is not mixed.segmentation.decoder
    taught, other = (load_bundle(place / "segmentation").digest for place in (saved_set, part))
    assert mixed.digests["phantom/segmentation"] == taught != other == mixed.digests["part/segmentation"]
    clicked = InteractiveSegmenter.load(part, "cpu").digests
    assert sorted(clicked) == ["part/encoder", "part/segmentation"], "what answers clicks, not what reads views"
    assert clicked["part/segmentation"] == other


def test_a_merged_adapter_leaves_the_outlines_in_force(saved_set: Path, workspace: Workspace, tmp_path: Path) -> None:
    recipe = multitask_recipe().model_copy(update={"start": saved_set, "setting": LearningSetting(name="lora")})
    recipe.export(recipe.build_task(), tmp_path / "adapted", PROVENANCE)
    outlining = recipe_on(tmp_path / "adapted")
    outlining.export(outlining.build(workspace).task, tmp_path / "both", PROVENANCE)
    assert load_models(tmp_path / "both").view_classification.mask_branch is not None
    merged = merge_adapter(SetPaths("both", tmp_path / "both"), tmp_path / "merged")
    assert {check.problem for check in verify_set(merged)} == {""}
    assert load_models(tmp_path / "merged").view_classification.mask_branch is not None


def test_outlines_of_another_segmentation_are_refused(outlined: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(outlined, tmp_path / "broken")
    card = read_card(broken / "view_classification")
    update_card(broken / "view_classification", architecture={**card.architecture, "segmentation_sha256": "0" * 64})
    assert any("another segmentation" in check.problem for check in verify_set(SetPaths("broken", broken)))
    with pytest.raises(BundleError, match="import the whole set again"):
        load_models(broken)


def test_training_on_leaves_the_outlines_behind(outlined: Path) -> None:
    card = read_card(outlined / "encoder")
    values = {"start": outlined, "encoder": card.architecture, "stores": {}, "validation": clips(0)}
    sections = {"view": "view_classification", "segmentation": "segmentation", "wall": "lv_wall"}
    parts = {key: read_card(outlined / name).architecture["decoder"] for key, name in sections.items()}
    task = MultiTaskRecipe.model_validate({**values, **parts, "blocks": BLOCKS, "frames": {"sizes": [[0, 64]]}})
    assert task.build_task().view.mask_branch is None


def test_a_set_without_a_segmentation_of_its_own_is_refused(
    saved_set: Path, workspace: Workspace, tmp_path: Path
) -> None:
    part = shutil.copytree(saved_set, tmp_path / "part")
    shutil.rmtree(part / "segmentation")
    with pytest.raises(BundleError, match="has no segmentation of its own"):
        recipe_on(part).build(workspace)


def test_tasks_of_different_passes_are_refused(saved_set: Path, workspace: Workspace, tmp_path: Path) -> None:
    other = shutil.copytree(saved_set, tmp_path / "other")
    update_card(other / "segmentation", preprocessing={"size": [80, 80]})
    with pytest.raises(BundleError, match="do not read the same pass"):
        recipe_on(other).build(workspace)


@pytest.mark.parametrize(("fitted", "written"), [(0.51, 1.0), (1.4, 1.4)])
def test_simulated_validation_never_makes_views_surer(
    fitted: float, written: float, saved_set: Path, workspace: Workspace, tmp_path: Path
) -> None:
    recipe = recipe_on(saved_set)
    seen = PROVENANCE.model_copy(update={"metrics": {"validation/view_temperature": fitted}})
    recipe.export(recipe.build(workspace).task, tmp_path / "out", seen)
    assert read_card(tmp_path / "out" / "view_classification").calibration["temperature"] == written
