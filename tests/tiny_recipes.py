"""Every shipped recipe in miniature: the same sections, a few clips, small images and two or three steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from echoapex.config import read_recipe

RECIPE_FOLDER = Path(str(resources.files("echoapex"))) / "recipes"
RECIPES = sorted(path.stem for path in RECIPE_FOLDER.glob("*.yaml"))
SIDE = 64
TRAIN = {
    "steps": 3, "score_every": 2, "checkpoint_every": 2, "log_every": 1, "optim": {"warmup_steps": 1},
    "device": "cpu", "parallel": "ddp",
}  # fmt: skip
CLIPS = {"patients": 1, "views": ["A4C", "PLAX"], "frames": 2, "labelled": 2, "native_size": 96, "size": SIDE}


@dataclass(frozen=True)
class StartingPoint:
    """What recipes that do not start from nothing are given: a set of bundles, a tiny CAMUS and a folder of clips."""

    bundles: Path
    camus: Path
    clips: Path = Path("no-clips")


def shrink(name: str, start: StartingPoint) -> dict[str, Any]:
    """Overrides that make a run of the shipped recipe a matter of seconds."""
    task = read_recipe(RECIPE_FOLDER / f"{name}.yaml")["task"]
    return {"task": SHRINK[task["kind"]](task, start), "train": TRAIN}


def shrink_multitask(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """One patient per store, a tiny encoder, and the change of image size where the recipe has one."""
    sizes = [[0, SIDE]] if len(task["frames"]["sizes"]) == 1 else [[0, SIDE], [2, SIDE + 16]]
    width = {"width": 192}
    smaller: dict[str, Any] = {
        "encoder": {"size": "tiny", "patch_size": 16, "registers": 4, "image_size": SIDE},
        **dict.fromkeys(("view", "segmentation", "wall"), width),
        "stores": {store: {**CLIPS, "first_seed": 100 * n} for n, store in enumerate(task["stores"])},
        "validation": {**CLIPS, "first_seed": 190_000},
        "frames": {"batch_size": 4, "sizes": sizes},
        "validation_batch": 4,
    }
    given = {"start": str(start.bundles), "encoder_bundle": str(start.bundles / "encoder")}
    return smaller | {key: place for key, place in given.items() if key in task}


def shrink_ejection_fraction(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """Two clips of a few frames."""
    clips = {**CLIPS, "views": ["A4C", "A2C"], "frames": 4}
    return {
        "encoder_bundle": str(start.bundles / "encoder"),
        "stores": {store: {**clips, "first_seed": 500 + 100 * n} for n, store in enumerate(task["stores"])},
        "validation": {**clips, "first_seed": 195_000},
        "features": {"size": SIDE, "batch_size": 2, "frames": [2, 4]},
        "decoder": {"width": 192},
    }


def shrink_camus(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """Four drawn patients, one of them held back; an adapter, which would have to be of the tiny encoder, is fresh."""
    fresh = {"setting": {"start": None}} if "start" in task.get("setting", {}) else {}
    return {
        **fresh,
        "root": str(start.camus),
        "encoder_bundle": str(start.bundles / "encoder"),
        "decoder_bundle": str(start.bundles / "segmentation"),
        "store_size": SIDE,
        "held_back": 1,
        "frames": {"batch_size": 4, "sizes": [[0, SIDE]]},
    }


def shrink_pretrain(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """One patient of the phantom, also instead of an archive, a tiny encoder, two small crops of each kind, and a
    handful of prototypes.
    """
    stores = task.get("stores") or ("pretrain",)
    given = {"start": str(start.bundles / "encoder")} if "start" in task else {}
    head = {"hidden": 32, "bottleneck": 16, "prototypes": 24}
    return given | {
        "archives": [],
        "encoder": {"size": "tiny", "image_size": SIDE, "patch_size": 16},
        "class_head": head,
        "patch_head": head,
        "schedule": {"temperature_steps": 2, "frozen_prototype_steps": 1},
        "stores": {store: {**CLIPS, "first_seed": 300 + 100 * n} for n, store in enumerate(stores)},
        "validation": {**CLIPS, "first_seed": 190_000},
        "validation_batch": 4,
        "frames": {"batch_size": 4, "crops": {"global_crops": {"side": SIDE}, "local_crops": {"count": 2, "side": 32}}},
    }


def shrink_dataset_clips(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """One clip teaches, another judges."""
    drawn = {"features": {"size": SIDE, "batch_size": 2, "frames": [2, 4]}}
    if task["kind"] in ("dataset_views", "dataset_segmentation", "dataset_walls"):
        drawn = {"frames": {"batch_size": 4, "sizes": [[0, SIDE]]}, "size_of_start": False}
    return {
        "dataset": "corrections" if task["kind"] == "dataset_walls" else "folder",
        "root": str(start.clips),
        "start": str(start.bundles),
        "store": {"frames": 4, "labelled": 1, "size": SIDE},
        **drawn,
    }


def shrink_view_from_masks(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """A few frames of one patient per store, the maps small."""
    return {
        "start": str(start.bundles),
        "decoder": {"side": 8, "width": 4},
        "stores": {store: {**CLIPS, "first_seed": 100 * n} for n, store in enumerate(task["stores"])},
        "validation": {**CLIPS, "first_seed": 190_000},
        "drawn": 6,
        "batch_size": 4,
    }


def shrink_joint(task: Mapping[str, Any], start: StartingPoint) -> dict[str, Any]:
    """As a multitask recipe, with a drawn CAMUS and a small folder in place of the real sources."""
    roots = {"camus": str(start.camus), "folder": str(start.clips)}
    small = {"store": {"frames": 4, "labelled": 2, "size": SIDE}, "frames": {"batch_size": 2, "sizes": [[0, SIDE]]}}
    real = {name: {"root": roots[source["dataset"]], **small} for name, source in task["real"].items()}
    for name, source in task["real"].items():
        if source["dataset"] == "camus":
            real[name]["held_back"] = 1
    given = {"decoders": str(start.bundles)} if "decoders" in task else {}
    return shrink_multitask(task, start) | given | {"real": real}


SHRINK = {
    "joint": shrink_joint,
    "view_from_masks": shrink_view_from_masks,
    "dataset_ejection_fraction": shrink_dataset_clips,
    "dataset_views": shrink_dataset_clips,
    "dataset_segmentation": shrink_dataset_clips,
    "dataset_walls": shrink_dataset_clips,
    "multitask": shrink_multitask,
    "ejection_fraction": shrink_ejection_fraction,
    "camus_segmentation": shrink_camus,
    "pretrain": shrink_pretrain,
}
"""By kind of task; a new kind needs its miniature here."""


def as_arguments(overrides: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """Nested overrides as a person writes them: ``--section.key value``."""
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from as_arguments(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
            yield value if isinstance(value, str) else json.dumps(value)
