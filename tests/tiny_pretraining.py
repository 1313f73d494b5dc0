"""Pretraining in miniature: a real network on 32-pixel crops of drawn clips."""

from __future__ import annotations

from pathlib import Path

import torch
from drawn_clips import draw_store

from echoapex.data.crops import CropConfig, CropKind, CropSource, CropSourceConfig
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.frame_reader import ClipStoreReader
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.decoders.projection_head import ProjectionHeadConfig
from echoapex.models.encoder import EncoderConfig
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.tasks.pretrain import Pretrain

CROPS = CropConfig(
    global_crops=CropKind(count=2, side=48, scale=(0.4, 1.0)),
    local_crops=CropKind(count=2, side=32, scale=(0.1, 0.4)),
)
HEAD = ProjectionHeadConfig(hidden=32, bottleneck=16, prototypes=24)


def pretrain_recipe(**changes: object) -> PretrainRecipe:
    """A recipe that never draws its clips."""
    values = {
        "encoder": EncoderConfig(image_size=48, drop_path=0.1),
        "class_head": HEAD,
        "patch_head": HEAD,
        "schedule": {"steps": 20, "momentum": 0.9, "temperature_steps": 4, "frozen_prototype_steps": 2},
        "stores": {"any": PhantomStoreConfig(patients=1)},
        "validation": PhantomStoreConfig(patients=1, first_seed=190_000),
        "frames": CropSourceConfig(batch_size=4, crops=CROPS),
    }
    return PretrainRecipe(**{**values, **changes})


def build_pretrain(**changes: object) -> Pretrain:
    """The task of that recipe, always with the same fresh weights."""
    torch.manual_seed(0)
    return pretrain_recipe(**changes).build_task()


def crop_source(directory: Path, clips: int = 6) -> CropSource:
    """Crops of drawn clips below a directory."""
    place = directory / "store"
    store = ClipStore(place) if place.exists() else draw_store(place, clips=clips)
    return CropSource(ClipStoreReader([store]), CropSourceConfig(batch_size=4, crops=CROPS), patch_size=16)
