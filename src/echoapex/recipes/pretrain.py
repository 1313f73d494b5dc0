"""Recipe: an encoder pretrained without labels, on frames of an archive, of the phantom, or of both.

Training starts from a fresh encoder, from one of our bundles, or from a public backbone in safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from echoapex.data.crops import CropSource, CropSourceConfig
from echoapex.data.frame_source import ProbeSource
from echoapex.data.stores.frame_reader import (
    EVEN_VISITS,
    ClipStoreReader,
    FrameReader,
    JoinedReader,
    RepeatedReader,
    open_frame_store,
)
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.adapters import Adapter, AdapterConfig
from echoapex.models.bundle import build_encoder_from, load_bundle, save_bundle
from echoapex.models.decoders.projection_head import ProjectionHead, ProjectionHeadConfig
from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.models.pretrained import IMAGENET, Normalisation, fold_to_grey, load_pretrained
from echoapex.models.weights_file import WeightsError, load_weights
from echoapex.recipes.clips import after_prepared_sets, open_phantom_store
from echoapex.recipes.recipe import Lineage, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.pretrain import Pretrain, PretrainNetwork, PretrainSchedule, PretrainWeights
from echoapex.tasks.task import LayerDecay, Task

NOMINAL_FRAME = Normalisation((0.17,), (0.2,))
"""Mean and standard deviation of a typical prepared frame, in [0, 1]. They are used when weights trained with fixed
constants continue on frames that are standardised one by one."""


def starting_encoder(wanted: EncoderConfig, start: Path | None, masks_patches: bool = True) -> VisionTransformer:
    """The encoder to train, in training mode, all of it trainable.

    With ``start`` the weights give the architecture. ``wanted`` must have the same size and patch, and gives
    stochastic depth. RGB backbones are folded to grey.

    Args:
        wanted: the architecture of the recipe.
        start: directory of an encoder bundle, or a safetensors file; None for fresh weights.
        masks_patches: whether training masks patches, and so needs a mask token that differs from a black patch.

    Raises:
        BundleError: the bundle is damaged or holds no encoder.
        WeightsError: the file holds no known encoder, or one of another size.
    """
    if start is None:
        return VisionTransformer(wanted)
    found = load_pretrained(start) if start.is_file() else build_encoder_from(load_bundle(start))
    config = found.config
    if (config.size, config.patch_size) != (wanted.size, wanted.patch_size):
        raise WeightsError(
            f"{start}: is a {config.size} encoder with patches of {config.patch_size}, the recipe wants {wanted.size} "
            f"with {wanted.patch_size}; set task.encoder.size and task.encoder.patch_size to those of the weights"
        )
    state = found.state_dict()
    if config.in_channels == 3:
        state = fold_to_grey(state, IMAGENET, NOMINAL_FRAME)
    elif not start.is_file():
        card = load_bundle(start).card.preprocessing
        if card.rule == "fixed":
            state = fold_to_grey(state, Normalisation((card.mean,), (card.std,)), NOMINAL_FRAME)
    encoder = VisionTransformer(config.model_copy(update={"in_channels": 1, "drop_path": wanted.drop_path}))
    load_weights(encoder, state, start)
    if masks_patches:
        _wake_mask_token(encoder.mask_token)
    return encoder.requires_grad_(True).train()


@torch.no_grad()
def _wake_mask_token(token: nn.Parameter) -> None:
    """Give the mask token small random values; backbones trained without masking have zeros, like a black patch."""
    if not token.any():
        nn.init.trunc_normal_(token, std=0.02)


class PretrainRecipe(TaskRecipe):
    """Architecture, frames, losses and schedule of a pretraining run."""

    kind: Literal["pretrain"] = "pretrain"
    encoder: EncoderConfig = EncoderConfig()
    class_head: ProjectionHeadConfig = ProjectionHeadConfig()
    patch_head: ProjectionHeadConfig = ProjectionHeadConfig()
    weights: PretrainWeights = PretrainWeights()
    schedule: PretrainSchedule = PretrainSchedule()
    layer_decay: LayerDecay = LayerDecay()
    head_warmup: int = Field(default=0, ge=0)
    """First updates, during which only the fresh heads learn, so that they do not damage a given encoder. The learning
    rate of the encoder then rises over the same number of updates."""
    lora: AdapterConfig | None = None
    """Train low-rank matrices beside the linear layers (LoRA) instead of the given encoder (``start``); at the end they
    are merged into it."""
    archives: tuple[str, ...] = ()
    """Stores of ingested frames, or folders of prepared sets, for training."""
    curation: dict[str, Path] = Field(default_factory=dict)
    """For each archive that is sampled by weights, the folder that ``echoapex curate`` wrote for it."""
    stores: dict[str, PhantomStoreConfig] = Field(default_factory=dict)
    """Phantom clips for training; their labels are not used."""
    validation: PhantomStoreConfig
    """Phantom clips with known views, for the validation scores of the features."""
    validation_batch: int = Field(default=256, ge=1)
    frames: CropSourceConfig = CropSourceConfig()
    start: Path | None = None
    """An encoder bundle, or a safetensors file of DINOv2, DINOv3 or timm, of the same size and patch, to go on from;
    registers, positions and the rest are then those of the weights. Without it the weights are fresh."""

    @model_validator(mode="after")
    def _parts_fit(self) -> PretrainRecipe:
        """Find mistakes now, not after hours of drawing clips."""
        if not self.stores and not self.archives:
            raise ValueError("there are no frames to learn from; name phantom clips under stores, or archives")
        strange = [archive for archive in self.curation if archive not in self.archives]
        if strange:
            raise ValueError(f"curation names {strange[0]}, which is none of the archives; name it there as well")
        if self.lora is not None and (self.lora.kind != "lora" or self.start is None):
            raise ValueError("lora bends an encoder that was given: set start, and leave lora.kind at lora")
        patch, crops = self.encoder.patch_size, self.frames.crops
        for name, kind in (("global_crops", crops.global_crops), ("local_crops", crops.local_crops)):
            if kind.side % patch:
                raise ValueError(f"frames.crops.{name}.side is {kind.side}, not a whole number of patches of {patch}")
        return self

    def simulated_patients(self) -> tuple[Mapping[str, PhantomStoreConfig], PhantomStoreConfig | None]:
        """The phantom stores of training, and that of validation."""
        return self.stores, self.validation

    def for_updates(self, count: int) -> Self:
        """The momentum's schedule takes the length of the run, unless it has one of its own."""
        if self.schedule.steps is not None:
            return self
        return self.model_copy(update={"schedule": self.schedule.model_copy(update={"steps": count})})

    def build(self, workspace: Workspace) -> Workload:
        """Draw the phantom clips that are missing, open the archives and build the task."""
        task = self.build_task()  # first, so that unsuitable starting weights are found before clips are drawn
        readers = self._open_archives()
        stores = [open_phantom_store(name, config, workspace) for name, config in self.stores.items()]
        if stores:
            drawn = ClipStoreReader(stores)
            readers.append(RepeatedReader(drawn, EVEN_VISITS) if self.curation else drawn)
        held_back = ClipStoreReader([open_phantom_store("validation", self.validation, workspace)])
        probes = ProbeSource(held_back, self.validation_batch, self.frames.crops.global_crops.side)
        return Workload(
            task=task,
            batches=CropSource(JoinedReader(readers), self.frames, self.encoder.patch_size),
            validation=probes,
            validation_batches=probes.batches,
        )

    def _open_archives(self) -> list[FrameReader]:
        """Open the archives; frames of archives without a curation have even weights."""
        if not self.curation:
            return [open_frame_store(location) for location in self.archives]
        return [
            open_frame_store(location, self.curation[location])
            if location in self.curation
            else RepeatedReader(open_frame_store(location), EVEN_VISITS)
            for location in self.archives
        ]

    def build_task(self) -> Pretrain:
        """Student and teacher with fresh weights, or with the starting encoder.

        Raises:
            BundleError: the starting bundle is damaged or holds no encoder.
            WeightsError: the file holds no encoder that we know, or one of another size or patch.
        """
        encoder = starting_encoder(self.encoder, self.start)
        width = self.encoder.width
        heads = ProjectionHead(width, self.class_head), ProjectionHead(width, self.patch_head)
        adapter = Adapter(encoder, self.lora) if self.lora is not None else None
        return Pretrain(
            PretrainNetwork(encoder, *heads, adapter), self.schedule, self.weights, self.layer_decay, self.head_warmup
        )

    def starts(self) -> Sequence[Path]:
        """The given encoder, if there is one."""
        return [] if self.start is None else [self.start]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """What prepared sets say of their clips, beside what the recipe says."""
        return after_prepared_sets(provenance, [Path(location) for location in self.archives])

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the teacher's encoder in half precision; the heads are not written."""
        assert isinstance(task, Pretrain)
        size = self.frames.crops.global_crops.side
        encoder = task.trained_encoder()
        card = lineage.card("encoder", size, architecture=encoder.config.model_dump(mode="json"))
        save_bundle(directory / "encoder", encoder, card, half=True)
