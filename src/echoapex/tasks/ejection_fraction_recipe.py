"""Recipe: the temporal decoder of the ejection fraction on a frozen encoder, on clips of the phantom."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from echoapex.data.clip_store import ClipStore
from echoapex.data.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import Bundle, build_encoder_from, load_bundle, save_bundle
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.models.precision import choose_precision
from echoapex.phantom import SIMULATOR_VERSION
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.tasks.frozen_features import ClipBatches, FrozenFeatureConfig, FrozenFeatures, WholeClips, write_features
from echoapex.tasks.phantom_stores import open_phantom_store
from echoapex.tasks.recipe import Lineage, TaskRecipe, Workload, Workspace
from echoapex.tasks.task import Task
from echoapex.vocabulary import Application


class EjectionFractionRecipe(TaskRecipe):
    """Decoder, encoder bundle and clips."""

    kind: Literal["ejection_fraction"] = "ejection_fraction"
    encoder_bundle: Path
    decoder: ClipConfig = ClipConfig()
    stores: dict[str, PhantomStoreConfig] = Field(min_length=1)
    validation: PhantomStoreConfig
    features: FrozenFeatureConfig = FrozenFeatureConfig()

    def build(self, workspace: Workspace) -> Workload:
        """Draw clips, encode them once, build the task."""
        bundle = load_bundle(self.encoder_bundle)
        encoder = build_encoder_from(bundle)
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
        digits = choose_precision(features.precision).name
        told = f"{name}-{_digest(config, features)}-{bundle.digest[:12]}-{digits}"
        path = workspace.directory / "features" / f"{told}.npy"
        write_features(
            encoder, store, path, features,
            lambda done, total: workspace.progress(f"features in {digits}, {name}", done, total),
        )  # fmt: skip
        return FrozenFeatures(store, path, features)

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


def _digest(store: PhantomStoreConfig, features: FrozenFeatureConfig) -> str:
    """Digest of what the features of a store depend on, beside the encoder; not of how batches are drawn from them."""
    encoded = features.model_dump_json(include={"size", "variants", "seed", "augment"})
    return hashlib.sha256(f"{SIMULATOR_VERSION} {store.model_dump_json()} {encoded}".encode()).hexdigest()[:10]


def interval_factor(lineage: Lineage) -> float:
    """What widens the predicted deviation to the errors seen on held-back clips: the root of the mean squared ratio."""
    squared_ratio = lineage.metrics.get("validation/ef_squared_error_over_variance", 1.0)
    return round(math.sqrt(max(squared_ratio, 1e-3)), 3)
