"""Recipes: the decoder of the ejection fraction on a frozen encoder, on simulated clips or on those of a data set.

The recipe for a public data set, or for a user's own clips, continues from a trained set.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from echoapex.config import ConfigError, build_config
from echoapex.data.datasets import DatasetClip
from echoapex.data.stores.clip_store import ClipStore, FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import Bundle, build_encoder_from, load_bundle, save_bundle
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.models.precision import choose_precision
from echoapex.models.registry import find_set
from echoapex.models.weights_file import load_weights
from echoapex.phantom import SIMULATOR_VERSION
from echoapex.recipes.clips import DatasetClips, open_phantom_store, starting_bundles
from echoapex.recipes.ejection_fraction_clips import (
    ClipBatches,
    FrozenFeatureConfig,
    FrozenFeatures,
    PixelClips,
    WholeClips,
    WholePixelClips,
    write_features,
)
from echoapex.recipes.recipe import EncoderExport, LearningSetting, Lineage, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.tasks.task import Task
from echoapex.vocabulary import Application, Quantity


class EjectionFractionRecipe(TaskRecipe):
    """Decoder, encoder bundle and clips."""

    kind: Literal["ejection_fraction"] = "ejection_fraction"
    encoder_bundle: Path
    decoder: ClipConfig = ClipConfig()
    stores: dict[str, PhantomStoreConfig] = Field(min_length=1)
    validation: PhantomStoreConfig
    features: FrozenFeatureConfig = FrozenFeatureConfig()

    def simulated_patients(self) -> tuple[Mapping[str, PhantomStoreConfig], PhantomStoreConfig | None]:
        """The phantom stores of training, and that of validation."""
        return self.stores, self.validation

    def build(self, workspace: Workspace) -> Workload:
        """Draw clips, encode them once, build the task.

        Raises:
            ConfigError: the decoder does not fit the encoder.
        """
        bundle = load_bundle(self.encoder_bundle)
        encoder = build_encoder_from(bundle)
        width = encoder.config.width
        if self.decoder.width != width:
            raise ConfigError(f"decoder.width is {self.decoder.width}, the encoder's tokens have {width}: set it")
        plain = self.features.model_copy(update={"variants": 1})
        parts = [
            self._features(name, config, self.features, encoder, bundle, workspace)
            for name, config in self.stores.items()
        ]
        held_back = self._features("ef-validation", self.validation, plain, encoder, bundle, workspace)
        whole = WholeClips(held_back)
        task = EjectionFraction(encoder, ClipDecoder.build(self.decoder), (len(encoder.blocks) - 1,))
        return Workload(task, ClipBatches(parts, self.features), whole, len(whole))

    def _features(
        self,
        name: str,
        config: PhantomStoreConfig,
        features: FrozenFeatureConfig,
        encoder: VisionTransformer,
        bundle: Bundle,
        workspace: Workspace,
    ) -> FrozenFeatures:
        store: ClipStore = open_phantom_store(name, config, workspace)
        key = f"{name}-{_digest(config, features)}-{bundle.digest[:12]}"
        return _features_of(store, key, name, features, encoder, workspace)

    def starts(self) -> Sequence[Path]:
        """The encoder."""
        return [self.encoder_bundle]

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the decoder as a bundle that names its encoder, and the encoder beside it."""
        assert isinstance(task, EjectionFraction)
        encoder = load_bundle(self.encoder_bundle)
        card = lineage.card(
            "task",
            self.features.size,
            task=Application.EJECTION_FRACTION.value,
            architecture={"decoder": self.decoder.model_dump(mode="json"), "blocks": list(task.blocks)},
            calibration={"interval_factor": interval_factor(lineage)},
            base_encoder_sha256=encoder.digest,
        )
        save_bundle(directory / Application.EJECTION_FRACTION.value, task.decoder, card, half=True)
        beside = directory / "encoder"
        if beside.resolve() != self.encoder_bundle.resolve():
            shutil.copytree(self.encoder_bundle, beside, dirs_exist_ok=True)


def _features_of(
    store: PreparedClipSource,
    key: str,
    name: str,
    features: FrozenFeatureConfig,
    encoder: VisionTransformer,
    workspace: Workspace,
) -> FrozenFeatures:
    """The features of a store, encoded unless they lie in the workspace; ``name`` is for people, ``key`` for files."""
    digits = choose_precision(features.precision).name
    path = workspace.directory / "features" / f"{key}-{digits}.npy"
    write_features(
        encoder, store, path, features,
        lambda done, total: workspace.progress(f"features in {digits}, {name}", done, total),
    )  # fmt: skip
    return FrozenFeatures(store, path, features)


def _digest(store: PhantomStoreConfig, features: FrozenFeatureConfig) -> str:
    """Digest of everything that the features of a store depend on, except the encoder and how batches are drawn."""
    encoded = features.model_dump_json(include={"size", "variants", "seed", "augment"})
    return hashlib.sha256(f"{SIMULATOR_VERSION} {store.model_dump_json()} {encoded}".encode()).hexdigest()[:10]


def interval_factor(lineage: Lineage) -> float:
    """Factor from the predicted deviation to the errors on held-back clips: the root of the mean squared ratio."""
    squared_ratio = lineage.metrics.get("validation/ef_squared_error_over_variance", 1.0)
    return round(math.sqrt(max(squared_ratio, 1e-3)), 3)


def not_apical(record: DatasetClip) -> str:
    """Why the ejection fraction is not learned from a clip, in words; empty for apical views and unknown ones."""
    return "" if record.view is None or record.view.is_apical else f"their view {record.view} is not apical"


class DatasetEjectionFractionRecipe(TaskRecipe):
    """Where the clips and the starting set are, and how clips are drawn."""

    kind: Literal["dataset_ejection_fraction"] = "dataset_ejection_fraction"
    dataset: Literal["echonet_dynamic", "echonet_pediatric", "folder"]
    root: Path
    start: str = "phantom"
    """Name or folder of the starting set; its encoder is used and its decoder is trained further."""
    fresh_decoder: bool = False
    """Give the decoder fresh weights; its sizes stay those of the starting set."""
    store: DatasetStoreConfig = DatasetStoreConfig()
    features: FrozenFeatureConfig = FrozenFeatureConfig(size=192)
    """How clips are drawn; if the encoder learns, clips are augmented anew each time and ``variants`` is not used."""
    setting: LearningSetting = LearningSetting(name="frozen")
    few_shot: FewShot | None = None

    def build(self, workspace: Workspace) -> Workload:
        """Prepare the clips and build the task from the starting set; clips of a frozen encoder are encoded once."""
        encoder_bundle, decoder_bundle = starting_bundles(self.start, Application.EJECTION_FRACTION)
        encoder = build_encoder_from(encoder_bundle)
        task = EjectionFraction(encoder, self._decoder(decoder_bundle), (len(encoder.blocks) - 1,))
        clips = DatasetClips(dataset=self.dataset, root=self.root, store=self.store)
        training, held_back = clips.open(
            lambda record: record.value(Quantity.LVEF) is not None, "an ejection fraction", workspace, not_apical
        )
        taught: list[PreparedClipSource] = [training]
        if self.few_shot is not None:
            taught = choose_clips(taught, self.few_shot)
        if self.setting.name != "frozen":
            encoder.requires_grad_(True)
            task.adapter = self.setting.apply(encoder, encoder_bundle)
            seen = WholePixelClips(held_back, self.features.size)
            return Workload(task, PixelClips(taught, self.features), seen, len(seen))
        parts = [self._features("training", training, each, encoder, encoder_bundle, workspace) for each in taught]
        whole = WholeClips(self._features("judging", held_back, held_back, encoder, encoder_bundle, workspace))
        return Workload(task, ClipBatches(parts, self.features), whole, len(whole))

    def _decoder(self, bundle: Bundle) -> ClipDecoder:
        section = bundle.card.architecture["decoder"]
        assert isinstance(section, dict)
        decoder = ClipDecoder.build(build_config(ClipConfig, section, str(bundle.directory)))
        if not self.fresh_decoder:
            load_weights(decoder, bundle.state, bundle.directory)
        return decoder

    def _features(
        self,
        part: Literal["training", "judging"],
        store: ClipStore,
        chosen: PreparedClipSource,
        encoder: VisionTransformer,
        bundle: Bundle,
        workspace: Workspace,
    ) -> FrozenFeatures:
        """The features of the chosen clips of a store; clips for validation are not augmented."""
        features = self.features if part == "training" else self.features.model_copy(update={"variants": 1})
        few = "" if chosen is store or self.few_shot is None else self.few_shot.model_dump_json()
        encoded = features.model_dump_json(include={"size", "variants", "seed", "augment"})
        digest = hashlib.sha256(f"{encoded} {few}".encode()).hexdigest()[:10]
        key = f"{store.directory.name}-{digest}-{bundle.digest[:12]}"
        return _features_of(chosen, key, part, features, encoder, workspace)

    def starts(self) -> Sequence[Path]:
        """Encoder and decoder of the starting set, and the adapter to go on from."""
        found = find_set(self.start).find_task(Application.EJECTION_FRACTION.value)
        return [found.encoder, found.decoder, *self.setting.starts]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """What the card says of the clips."""
        return DatasetClips(dataset=self.dataset, root=self.root, store=self.store).taught(provenance)

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder, changed or not, and its decoder."""
        assert isinstance(task, EjectionFraction)
        base = find_set(self.start).find_task(Application.EJECTION_FRACTION.value).encoder
        out = EncoderExport(directory, lineage, self.features.size)
        out.write(task.encoder, task.adapter, None if self.setting.name == "full" else base)
        out.write_decoder(
            Application.EJECTION_FRACTION.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(task.blocks)},
            calibration={"interval_factor": interval_factor(lineage)},
        )
        out.finish()
