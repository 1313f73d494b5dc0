"""Recipe: an encoder pretrained without labels, on frames of an archive, of the phantom, or of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from echoapex.data.crop_source import CropSource, CropSourceConfig
from echoapex.data.frame_reader import (
    EVEN_VISITS,
    ClipStoreReader,
    FrameReader,
    JoinedReader,
    RepeatedReader,
    open_frame_store,
)
from echoapex.data.phantom_store import PhantomStoreConfig
from echoapex.data.probe_source import ProbeSource
from echoapex.models.adapters import Adapter, AdapterConfig
from echoapex.models.bundle import save_bundle
from echoapex.models.decoders.projection_head import ProjectionHead, ProjectionHeadConfig
from echoapex.models.encoder import EncoderConfig
from echoapex.tasks.layer_decay import LayerDecay
from echoapex.tasks.phantom_stores import open_phantom_store
from echoapex.tasks.pretrain import Pretrain, PretrainNetwork, PretrainWeights
from echoapex.tasks.pretrain_schedule import PretrainSchedule
from echoapex.tasks.pretrain_start import starting_encoder
from echoapex.tasks.recipe import Lineage, TaskRecipe, Workload, Workspace
from echoapex.tasks.task import Task


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
    """Updates during which the fresh heads learn alone, so that they do not spoil an encoder that was given; its own
    learning rate then rises over as many again."""
    lora: AdapterConfig | None = None
    """Let thin matrices beside the linear layers learn in place of the encoder that was given (``start``); at the end
    they are merged into it."""
    archives: tuple[str, ...] = ()
    """Stores of ingested frames to learn from."""
    curation: dict[str, Path] = Field(default_factory=dict)
    """For each archive that is to be visited by weights, the folder that ``echoapex curate`` wrote for it."""
    stores: dict[str, PhantomStoreConfig] = Field(default_factory=dict)
    """Phantom clips to learn from; no label of theirs is used."""
    validation: PhantomStoreConfig
    """Phantom clips whose views tell, during the run, what the features know."""
    validation_batch: int = Field(default=256, ge=1)
    frames: CropSourceConfig = CropSourceConfig()
    start: Path | None = None
    """An encoder bundle, or a safetensors file of DINOv2, DINOv3 or timm, of the same size and patch, to go on from;
    registers, positions and the rest are then those of the weights. Without it the weights are fresh."""

    @model_validator(mode="after")
    def _parts_fit(self) -> PretrainRecipe:
        """Found here, in a second, and not after hours of drawing clips."""
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

    def for_updates(self, count: int) -> Self:
        """The momentum's schedule takes the length of the run, unless it has one of its own."""
        if self.schedule.steps is not None:
            return self
        return self.model_copy(update={"schedule": self.schedule.model_copy(update={"steps": count})})

    def build(self, workspace: Workspace) -> Workload:
        """Draw the phantom clips that are missing, open the archives and build the task."""
        task = self.build_task()  # first: starting weights that do not fit are found before clips are drawn
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
        """The archives; where one is visited by weights, the frames of the others count as even ones."""
        if not self.curation:
            return [open_frame_store(location) for location in self.archives]
        return [
            open_frame_store(location, self.curation[location])
            if location in self.curation
            else RepeatedReader(open_frame_store(location), EVEN_VISITS)
            for location in self.archives
        ]

    def build_task(self) -> Pretrain:
        """Student and teacher with fresh weights, or with the encoder that they go on from.

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
        """The encoder that was given, if there is one."""
        return [] if self.start is None else [self.start]

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the teacher's encoder, in half precision; the heads have done their work."""
        assert isinstance(task, Pretrain)
        size = self.frames.crops.global_crops.side
        encoder = task.trained_encoder()
        card = lineage.card("encoder", size, architecture=encoder.config.model_dump(mode="json"))
        save_bundle(directory / "encoder", encoder, card, half=True)
