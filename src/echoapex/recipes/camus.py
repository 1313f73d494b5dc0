"""Recipe: encoder and promptable decoder fine-tuned on the outlines of CAMUS (CC BY-NC-SA 4.0, non-commercial)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from echoapex.config import build_config
from echoapex.data.datasets.camus import CamusError, open_camus, select_patients
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.clip_store import ClipStore, FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.dataset_store import write_camus_store
from echoapex.models.bundle import Origin, build_encoder_from, load_bundle
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.models.weights_file import load_weights
from echoapex.recipes.recipe import EncoderExport, LearningSetting, Lineage, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.task import ParameterGroup, Task, scale_learning_rate
from echoapex.vocabulary import Application, Structure

CAMUS_LICENCE = "CC-BY-NC-SA-4.0"
_JUDGED_AT_ONCE = 40


class CamusRecipe(TaskRecipe):
    """Where CAMUS and the starting weights are, and how frames are drawn.

    The last ``held_back`` patients of the training split are used for validation; the official ``val`` split is never
    used.
    """

    kind: Literal["camus_segmentation"] = "camus_segmentation"
    root: Path
    encoder_bundle: Path
    decoder_bundle: Path | None = None
    """A segmentation bundle to start from; without it the decoder has fresh weights."""
    decoder: PromptableConfig = PromptableConfig()
    """Sizes of a fresh decoder. With a starting decoder only ``pyramid_blocks`` is used, if that has no pyramid."""
    blocks: tuple[int, ...] = (2, 5, 8, 11)
    encoder_learning_rate_factor: float = Field(default=0.3, gt=0)
    click_rounds: int = Field(default=1, ge=1, le=10)
    """Answers to each simulated prompt in a step, each after one more click on the largest error."""
    store_size: int = 192
    held_back: int = Field(default=40, ge=1)
    patients: int | None = Field(default=None, ge=1)
    """Number of labelled patients to train on; by default all except the held-back ones."""
    setting: LearningSetting = LearningSetting()
    few_shot: FewShot | None = None
    """Train on only a few clips, always whole patients."""
    frames: FrameSourceConfig = FrameSourceConfig()

    def build(self, workspace: Workspace) -> Workload:
        """Prepare CAMUS and build the task from the starting weights."""
        self._require_patients()
        training: list[PreparedClipSource] = [
            self._store("train", slice(0, self.patients or -self.held_back), workspace)
        ]
        if self.few_shot is not None:
            training = choose_clips(training, self.few_shot)
        held_back = self._store("held-back", slice(-self.held_back, None), workspace)
        judging = HeldBackFrames(held_back, self.frames.sizes[-1][1], _JUDGED_AT_ONCE)
        return Workload(self.build_task(), FrameSource(training, self.frames), judging, len(judging))

    def _require_patients(self) -> None:
        """Check that no patient is in both training and validation."""
        labelled = len(select_patients(open_camus(self.root), "train"))
        left = labelled - self.held_back
        if left < (self.patients or 1):
            raise CamusError(
                f"{self.root}: of {labelled} training patients {max(left, 0)} are left to train on after holding back "
                f"{self.held_back}; lower task.held_back or task.patients"
            )

    def _store(self, name: str, patients: slice, workspace: Workspace) -> ClipStore:
        part = f"{patients.start}-{patients.stop}-{self.store_size}"
        directory = workspace.directory / "stores" / f"camus-{name}-{part}"
        write_camus_store(self.root, "train", patients, self.store_size, directory)
        return ClipStore(directory)

    def build_task(self) -> CamusSegmentation:
        """The task with the starting weights."""
        base = load_bundle(self.encoder_bundle)
        encoder = build_encoder_from(base).requires_grad_(True)
        task = CamusSegmentation(encoder, self._starting_decoder(), self)
        task.adapter = self.setting.apply(encoder, base)
        return task

    def _starting_decoder(self) -> PromptableDecoder:
        if self.decoder_bundle is None:
            return PromptableDecoder.build(self.decoder)
        bundle = load_bundle(self.decoder_bundle)
        section = bundle.card.architecture["decoder"]
        assert isinstance(section, dict)
        config = build_config(PromptableConfig, section, str(self.decoder_bundle))
        if not config.pyramid_blocks:
            config = config.model_copy(update={"pyramid_blocks": self.decoder.pyramid_blocks})
        decoder = PromptableDecoder.build(config)
        load_weights(decoder, decoder.with_fresh_pyramid(bundle.state), self.decoder_bundle)
        return decoder

    def starts(self) -> Sequence[Path]:
        """The given encoder, decoder and adapter."""
        decoder = [] if self.decoder_bundle is None else [self.decoder_bundle]
        return [self.encoder_bundle, *decoder, *self.setting.starts]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """Weights trained on CAMUS always carry the licence of CAMUS."""
        terms = Origin(training_data=provenance.training_data, licence=CAMUS_LICENCE, non_commercial=True)
        return provenance.model_copy(update=dict(terms))

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the fine-tuned encoder and its segmentation decoder."""
        assert isinstance(task, CamusSegmentation)
        out = EncoderExport(directory, lineage, self.frames.sizes[-1][1])
        out.write(task.encoder, task.adapter, None if self.setting.name == "full" else self.encoder_bundle)
        out.write_decoder(
            Application.SEGMENTATION.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(self.blocks)},
            label_order=tuple(structure.key for structure in Structure),
        )
        out.finish()


class CamusSegmentation(SegmentationTask):
    """Segmentation whose pretrained encoder learns more slowly than its decoder."""

    def __init__(self, encoder: VisionTransformer, decoder: PromptableDecoder, recipe: CamusRecipe) -> None:
        super().__init__(encoder, decoder, recipe.blocks, recipe.click_rounds)
        self.encoder_learning_rate_factor = recipe.encoder_learning_rate_factor

    def parameter_groups(self) -> list[ParameterGroup]:
        """The groups of every task, split into encoder and decoder."""
        return scale_learning_rate(
            super().parameter_groups(), self.encoder.parameters(), self.encoder_learning_rate_factor
        )
