"""The joint recipe: every batch holds real and simulated frames, each teaching only what it labels."""

from pathlib import Path

import pytest
import torch
from tiny_camus import write_tiny_camus
from tiny_clip_folder import outline_tiny_clip_folder, write_tiny_clip_folder
from tiny_tasks import IMAGE_SIZE, PROVENANCE, multitask_recipe

from echoapex.config import ConfigError, build_config
from echoapex.data.datasets import DatasetError
from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import build_encoder_from, load_bundle
from echoapex.recipes.joint import JointRecipe, RealFrames
from echoapex.recipes.recipe import LearningSetting, Workload, Workspace
from echoapex.vocabulary import Structure, View

STORE = {"patients": 1, "views": ["A4C", "PLAX"], "frames": 2, "labelled": 2, "native_size": 96, "size": 64}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    camus = write_tiny_camus(tmp_path_factory.mktemp("camus"))
    own = tmp_path_factory.mktemp("own")
    outline_tiny_clip_folder(own, write_tiny_clip_folder(own))
    return {"camus": camus, "own": own}


def joint_recipe(roots: dict[str, Path], **changes: object) -> JointRecipe:
    plain = multitask_recipe()
    frames = FrameSourceConfig(batch_size=3, sizes=((0, IMAGE_SIZE),))
    own = DatasetStoreConfig(frames=4, labelled=2, size=64)
    values = {name: getattr(plain, name) for name in type(plain).model_fields if name != "kind"}
    values |= {
        "stores": {"views": PhantomStoreConfig(**STORE)},
        "validation": PhantomStoreConfig(**STORE, first_seed=190_000),
        "validation_batch": 4,
        "frames": plain.frames.model_copy(update={"batch_size": 4}),
        "real": {
            "camus": RealFrames(
                dataset="camus", root=roots["camus"], held_back=1, store=own, frames=frames, absent_by_view=True
            ),
            "own": RealFrames(dataset="folder", root=roots["own"], store=own, frames=frames),
        },
    }
    return JointRecipe(**(values | changes))


@pytest.fixture(scope="module")
def workload(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return joint_recipe(roots).build(Workspace(tmp_path_factory.mktemp("work"), 1, lambda what, done, total: None))


def test_every_batch_holds_its_part_of_each_source(workload: Workload) -> None:
    for step in (0, 5):
        batch = workload.batches.batch(step)
        assert batch.origin.tolist() == [0] * 4 + [1] * 3 + [2] * 3
        assert len(set(batch.clip.tolist())) == 10, "clips of different sources are different clips"
        assert batch.structure_known[:4].all(), "the simulator labels everything"
        camus, own = batch.structure_known[4:7], batch.structure_known[7:]
        assert camus[:, Structure.LV_MYOCARDIUM - 1].all() and not own[:, Structure.LV_MYOCARDIUM - 1].any()
        right_heart = [Structure.RIGHT_VENTRICLE - 1, Structure.RIGHT_ATRIUM - 1]
        two_chamber = batch.view[4:7] == list(View).index(View.A2C)
        assert camus[two_chamber][:, right_heart].all(), "A2C cannot show the right heart: it is absent"
        assert not camus[~two_chamber][:, right_heart].any(), "in A4C nobody looked for it: it is unknown"
    assert workload.task.loss(workload.batches.batch(0)).total.isfinite()


def test_sources_see_different_scanners(workload: Workload) -> None:
    batch = workload.batches.batch(0)
    assert not torch.equal(batch.pixels[4:7], batch.pixels[7:10])


def test_figures_are_told_apart_by_source(workload: Workload) -> None:
    rows: dict[str, list[torch.Tensor]] = {}
    for number in range(workload.validation_batches):
        for name, found in workload.task.cases(workload.validation.batch(number)).items():
            rows.setdefault(name, []).append(found)
    cases = {name: torch.cat(found) for name, found in rows.items()}
    figures = workload.task.summarise(cases)
    assert {name.split("/")[0] for name in figures} == {"phantom", "camus", "own", "view_temperature"}
    assert {"camus/dice_lv_cavity", "own/dice_left_atrium", "phantom/dice_aortic_root"} <= figures.keys()
    assert "camus/dice_right_ventricle" not in figures
    patients = {
        name: torch.cat([cases[f"camus/{name}"], cases[f"own/{name}"]]) for name in ("view_logits", "view_truth")
    }
    assert figures["view_temperature"] == workload.task.view.summarise(patients)["view_temperature"]


def test_an_adapter_is_merged_into_the_encoder_that_is_written(
    roots: dict[str, Path], saved_set: Path, tmp_path: Path
) -> None:
    recipe = joint_recipe(
        roots, encoder_bundle=saved_set / "encoder", decoders=saved_set, setting=LearningSetting(name="lora")
    )
    task = recipe.build_task()
    given = load_bundle(saved_set / "segmentation").state
    assert all(
        torch.equal(value, given[name].float()) for name, value in task.segmentation.decoder.state_dict().items()
    )
    with torch.no_grad():
        for addition in task.adapter.additions.values():
            addition.up.normal_(std=1.0)
    pixels = torch.randn(1, 1, IMAGE_SIZE, IMAGE_SIZE)
    task.eval()
    adapted = task.encoder(pixels).patches
    recipe.export(task, tmp_path, PROVENANCE)
    assert not (tmp_path / "segmentation" / "adapter").exists()
    card = load_bundle(tmp_path / "segmentation").card
    assert card.non_commercial and "CC-BY-NC-SA-4.0" in card.licence, "as CAMUS, whatever the recipe says"
    alone = build_encoder_from(load_bundle(tmp_path / "encoder")).eval()
    plain = build_encoder_from(load_bundle(saved_set / "encoder")).eval()
    with torch.no_grad():
        rounded, unadapted = ((one(pixels).patches - adapted).abs().mean() for one in (alone, plain))
    assert rounded < 0.05 * unadapted, "only half precision is between what learned and what is written"


def test_decoders_alone_are_no_start() -> None:
    values = {
        "kind": "joint",
        "stores": {},
        "validation": {"patients": 1},
        "decoders": "set",
        "real": {"own": {"dataset": "folder", "root": "own", "frames": {}}},
    }
    with pytest.raises(ConfigError, match="decoders go on with another encoder: set encoder_bundle"):
        build_config(JointRecipe, values, "recipe.yaml: task")


def test_a_folder_without_training_clips_is_refused(roots: dict[str, Path], tmp_path: Path) -> None:
    source = RealFrames(dataset="folder", root=roots["own"], train=frozenset({"test"}), frames=FrameSourceConfig())
    workspace = Workspace(tmp_path, 1, lambda what, done, total: None)
    teaching, judging = source.open("own", workspace)
    assert len(teaching) == 1 and judging is not None and len(judging) == 1
    empty = source.model_copy(update={"train": frozenset()})
    with pytest.raises(DatasetError, match="no clip of the split"):
        empty.open("own", workspace)
