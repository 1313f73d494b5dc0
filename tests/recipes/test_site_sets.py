"""A site's own sets: what a version is made of, what it goes on from, and when it is better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_tasks import PROVENANCE

from echoapex.models.bundle import BundleError, load_bundle, read_card
from echoapex.models.registry import find_set, verify_set
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe, DatasetTaskRecipe, DatasetViewsRecipe
from echoapex.recipes.recipe import LearningSetting
from echoapex.recipes.site_sets import RunOutcome, SiteLineage, SiteSets, read_outcome
from echoapex.tasks.trained_set import load_models
from echoapex.vocabulary import Application

SEGMENTATION, VIEWS = Application.SEGMENTATION, Application.VIEW_CLASSIFICATION


def learn(kind: type[DatasetTaskRecipe], start: str, out: Path) -> Path:
    """The bundles of a run that learned nothing yet, with an adapter."""
    setting = LearningSetting(name="lora")
    recipe = kind(dataset="corrections", root=Path("x"), start=start, setting=setting, size_of_start=True)
    recipe.export(recipe.build_task(), out, PROVENANCE)
    return out


def lineage(task: Application, base: Path, previous: int | None = None) -> SiteLineage:
    return SiteLineage(
        version=0, task=task, base=str(base), previous=previous, run="r1", made="2026-01-01T00:00:00Z",
        before={"dice_lv_cavity": 0.8}, after={"dice_lv_cavity": 0.9},
    )  # fmt: skip


def keep(site: SiteSets, bundles: Path, of: SiteLineage) -> int:
    """What was learned as the next version."""
    site.compose(bundles, of, bundles.parent / "composed" / bundles.name)
    return site.add(bundles.parent / "composed" / bundles.name, of)


@pytest.fixture
def site(saved_set: Path, tmp_path: Path) -> SiteSets:
    return SiteSets(tmp_path / "site", str(saved_set))


def test_versions_grow_task_by_task(site: SiteSets, saved_set: Path, tmp_path: Path) -> None:
    assert site.versions() == []
    assert site.start_of(SEGMENTATION, None) == str(saved_set)
    outlines = learn(DatasetSegmentationRecipe, site.start_of(SEGMENTATION, None), tmp_path / "outlines")
    assert keep(site, outlines, lineage(SEGMENTATION, saved_set)) == 1
    views = learn(DatasetViewsRecipe, site.start_of(VIEWS, 1), tmp_path / "views")
    assert keep(site, views, lineage(VIEWS, saved_set, previous=1)) == 2
    assert site.versions() == [1, 2]
    assert all(not check.problem for check in verify_set(find_set(site.place(2))))
    own = find_set(site.place(2)).bundles
    assert set(own) >= {"encoder", "view_classification", "segmentation", "lv_wall"}
    for name, source in (("segmentation", outlines), ("view_classification", views), ("lv_wall", saved_set)):
        assert load_bundle(own[name]).digest == load_bundle(source / name).digest
        assert (own[name] / "adapter").is_dir() is (name != "lv_wall")
    assert site.lineage(2).previous == 1
    assert site.lineage(2).version == 2
    assert not list((tmp_path / "site").glob(".*")), "no draft stays behind"
    models = load_models(site.place(2))
    assert models.encoders[SEGMENTATION].adapter is not models.encoders[VIEWS].adapter


def test_the_next_run_of_a_task_goes_on_from_the_version_in_use(
    site: SiteSets, saved_set: Path, tmp_path: Path
) -> None:
    keep(
        site, learn(DatasetSegmentationRecipe, str(saved_set), tmp_path / "outlines"), lineage(SEGMENTATION, saved_set)
    )
    start = site.start_of(SEGMENTATION, 1)
    assert start == str(site.place(1))
    again = learn(DatasetSegmentationRecipe, start, tmp_path / "again")
    assert keep(site, again, lineage(SEGMENTATION, saved_set, previous=1)) == 2
    assert "went on from tiny 0.1.0" in read_card(site.place(2) / "segmentation").notes


def test_parts_that_do_not_belong_together_make_no_version(site: SiteSets, saved_set: Path, tmp_path: Path) -> None:
    bundles = learn(DatasetSegmentationRecipe, str(saved_set), tmp_path / "outlines")
    card = bundles / "segmentation" / "card.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"base_encoder_sha256": "0" * 64}))
    with pytest.raises(BundleError):
        keep(site, bundles, lineage(SEGMENTATION, saved_set))
    assert site.versions() == []
    with pytest.raises(BundleError, match=r"site/3: its lineage\.json is missing"):
        site.lineage(3)


def test_a_view_classifier_that_reads_the_masks_of_the_old_outlines_is_left_out(tmp_path: Path) -> None:
    site = SiteSets(tmp_path / "site", "phantom")
    outlines = learn(DatasetSegmentationRecipe, "phantom", tmp_path / "outlines")
    keep(site, outlines, lineage(SEGMENTATION, Path("phantom")))
    own = find_set(site.place(1)).bundles
    assert VIEWS not in own
    assert Application.EJECTION_FRACTION in own
    assert load_models(site.place(1)).view_classification.mask_branch is not None, "the default set answers"


def test_only_a_finished_run_with_a_higher_score_is_better(tmp_path: Path) -> None:
    def journal(*entries: dict[str, object]) -> None:
        (tmp_path / "journal.jsonl").write_text("".join(json.dumps({"time": 0, **entry}) + "\n" for entry in entries))

    assert read_outcome(tmp_path, 4) == RunOutcome(step=0, steps=4)
    start = {"step": -1, "start_scores": {"dice_lv_cavity": 0.8, "dice_left_atrium": 0.6}}
    last = {"step": 3, "scores": {"dice_lv_cavity": 0.7, "dice_left_atrium": 0.8}}
    journal(start, {"step": 1, "loss": 1.0, "scores": {"dice_lv_cavity": 0.99, "dice_left_atrium": 0.99}})
    assert (read_outcome(tmp_path, 4).step, read_outcome(tmp_path, 4).is_better) == (2, False)
    journal(start, last)
    assert read_outcome(tmp_path, 4).is_better, "the mean counts"
    assert read_outcome(tmp_path, 4).after == last["scores"]
    assert not RunOutcome(before={"view_frame_accuracy": 0.5}, after={"view_frame_accuracy": 0.5}).is_better
    assert not RunOutcome(before={"view_temperature": 1.0}, after={"view_temperature": 2.0}).is_better
