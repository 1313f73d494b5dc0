"""A set with an adapter becomes one without: it answers the same, and what cannot be merged is refused in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_tasks import BLOCKS, PROVENANCE, frame_batch, multitask_recipe

from echoapex.models.adapter_merge import merge_adapter, split_adapter, stack_adapters
from echoapex.models.adapters import build_adapter_from
from echoapex.models.bundle import BundleError, build_encoder_from, load_bundle, read_card, update_card
from echoapex.models.encoder import standardise
from echoapex.models.registry import SetPaths, verify_set
from echoapex.recipes.recipe import LearningSetting


@pytest.fixture(scope="module")
def saved_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set without an adapter, with fresh weights."""
    directory = tmp_path_factory.mktemp("set")
    recipe = multitask_recipe()
    torch.manual_seed(0)
    recipe.export(recipe.build_task(), directory, PROVENANCE)
    return directory


def set_with_adapter(name: str, start: Path, directory: Path, seed: int = 0) -> tuple[torch.Tensor, SetPaths]:
    """What the adapted encoder makes of two frames, and the set as it is written."""
    recipe = multitask_recipe().model_copy(update={"start": start, "setting": LearningSetting(name=name)})
    task = recipe.build_task().eval()
    assert task.adapter is not None
    generator = torch.Generator().manual_seed(seed)
    for parameter in task.adapter.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    recipe.export(task, directory, PROVENANCE)
    with torch.no_grad():
        tokens = task.encoder.forward_blocks(standardise(frame_batch(2).pixels), BLOCKS)
    return tokens[-1].patches, SetPaths(directory.name, directory)


@pytest.mark.parametrize("name", ["lora", "bitfit"])
def test_the_merged_encoder_answers_by_itself(name: str, saved_set: Path, tmp_path: Path) -> None:
    expected, paths = set_with_adapter(name, saved_set, tmp_path / "adapted")
    merged = merge_adapter(paths, tmp_path / "merged")
    assert {check.problem for check in verify_set(merged)} == {""}
    assert set(merged.bundles) == set(paths.bundles)
    assert not list(merged.directory.rglob("adapter"))
    encoder = build_encoder_from(load_bundle(merged.encoder))
    with torch.no_grad():
        found = encoder.forward_blocks(standardise(frame_batch(2).pixels), BLOCKS)[-1].patches
    assert torch.allclose(found, expected, atol=0.02), "halved weights differ by rounding only"
    card = load_bundle(merged.encoder).card
    assert card.training_data == PROVENANCE.training_data
    assert f"adapter of kind {name} merged" in card.notes[-1]
    before, after = (load_bundle(each.directory / "segmentation").state for each in (paths, merged))
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_what_cannot_be_merged_is_refused(saved_set: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing to merge"):
        merge_adapter(SetPaths("set", saved_set), tmp_path / "merged")
    _, bottleneck = set_with_adapter("adapter", saved_set, tmp_path / "bottleneck")
    with pytest.raises(BundleError, match="bottleneck adapter cannot be merged"):
        merge_adapter(bottleneck, tmp_path / "merged")
    _, one = set_with_adapter("lora", saved_set, tmp_path / "one")
    _, other = set_with_adapter("lora", saved_set, tmp_path / "other", seed=1)
    shutil.rmtree(one.directory / "lv_wall")
    shutil.copytree(other.directory / "lv_wall", one.directory / "lv_wall")
    with pytest.raises(BundleError, match="different adapters"):
        merge_adapter(one, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    (tmp_path / "merged").mkdir()
    with pytest.raises(BundleError, match="is there already"):
        merge_adapter(other, tmp_path / "merged")


def test_two_adapters_in_a_row_are_one(saved_set: Path, tmp_path: Path) -> None:
    _, first = set_with_adapter("lora", saved_set, tmp_path / "first")
    merged = merge_adapter(first, tmp_path / "merged")
    expected, second = set_with_adapter("lora", merged.directory, tmp_path / "second", seed=1)
    stacked = stack_adapters(first, second, tmp_path / "stacked")
    assert {check.problem for check in verify_set(stacked)} == {""}
    assert load_bundle(stacked.encoder).digest == load_bundle(first.encoder).digest
    encoder, decoder, adapter = stacked.find_task("segmentation").load()
    assert adapter is not None
    assert adapter.card.architecture["rank"] == 8
    built = build_encoder_from(encoder)
    with torch.no_grad(), build_adapter_from(adapter, built).attached(built):
        found = built.forward_blocks(standardise(frame_batch(2).pixels), BLOCKS)[-1].patches
    assert torch.allclose(found, expected, atol=0.02), "halved weights differ by rounding only"
    late = load_bundle(second.directory / "segmentation").state
    assert all(torch.equal(value, decoder.state[key]) for key, value in late.items())


def test_adapters_that_do_not_follow_each_other_are_not_stacked(saved_set: Path, tmp_path: Path) -> None:
    _, first = set_with_adapter("lora", saved_set, tmp_path / "first")
    _, stranger = set_with_adapter("lora", saved_set, tmp_path / "stranger", seed=1)
    with pytest.raises(BundleError, match=r"was not trained on .*first merged"):
        stack_adapters(first, stranger, tmp_path / "stacked")
    _, bitfit = set_with_adapter("bitfit", saved_set, tmp_path / "bitfit")
    with pytest.raises(BundleError, match="only adapters of kind lora"):
        stack_adapters(first, bitfit, tmp_path / "stacked")
    assert not (tmp_path / "stacked").exists()


def test_what_the_encoder_or_the_adapter_is_bound_to_binds_what_they_become(saved_set: Path, tmp_path: Path) -> None:
    _, paths = set_with_adapter("lora", saved_set, tmp_path / "adapted")
    update_card(paths.encoder, licence="CC-BY-NC-4.0", non_commercial=True, training_data=["bound frames"])
    _, later = set_with_adapter("lora", merge_adapter(paths, tmp_path / "merged").directory, tmp_path / "later")
    stacked = stack_adapters(paths, later, tmp_path / "stacked")
    for directory in (tmp_path / "merged", stacked.directory):
        for place in (path.parent for path in directory.rglob("card.json")):
            card = read_card(place)
            assert card.non_commercial, place
            assert "CC-BY-NC-4.0" in card.licence
            assert "bound frames" in card.training_data


def test_what_was_merged_can_be_split_again(saved_set: Path, tmp_path: Path) -> None:
    expected, paths = set_with_adapter("lora", saved_set, tmp_path / "adapted")
    merged = merge_adapter(paths, tmp_path / "merged")
    rank = int(load_bundle(paths.directory / "segmentation" / "adapter").card.architecture["rank"])
    split = split_adapter(merged, saved_set / "encoder", rank, tmp_path / "split")
    assert {check.problem for check in verify_set(split)} == {""}
    base, _, adapter = split.find_task("segmentation").load()
    assert base.digest == load_bundle(saved_set / "encoder").digest, "the encoder is the one that others share"
    assert adapter is not None
    encoder = build_encoder_from(base)
    with torch.no_grad(), build_adapter_from(adapter, encoder).attached(encoder):
        found = encoder.forward_blocks(standardise(frame_batch(2).pixels), BLOCKS)[-1].patches
    assert torch.allclose(found, expected, atol=0.03), "halved weights differ by rounding only"
    assert set(PROVENANCE.training_data) <= set(adapter.card.training_data)


def test_what_no_adapter_can_tell_is_not_split(saved_set: Path, tmp_path: Path) -> None:
    _, paths = set_with_adapter("bitfit", saved_set, tmp_path / "adapted")
    merged = merge_adapter(paths, tmp_path / "merged")
    with pytest.raises(BundleError, match=r"differs from .*, which no adapter can tell; keep the set"):
        split_adapter(merged, saved_set / "encoder", 4, tmp_path / "split")
    with pytest.raises(BundleError, match="is there already"):
        split_adapter(merged, saved_set / "encoder", 4, tmp_path / "merged")
