"""Recipe: views from masks, a second branch of the view classification beside the one that reads pooled tokens.

The recipe starts from a trained set. Its encoder, segmentation and view decoder stay frozen. The segmentation draws
mask maps of augmented simulated frames once; only the new decoder learns, from these maps.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from echoapex.data.augment import AugmentConfig
from echoapex.data.batch import BatchSource, FrameBatch, MaskMapBatch, own_places, shuffled_index
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.losses.supervised import smoothed_cross_entropy
from echoapex.models.adapters import build_adapter_from
from echoapex.models.bundle import Bundle, BundleError, build_encoder_from, save_bundle
from echoapex.models.decoders.linear import ViewFromMasksConfig, ViewFromMasksDecoder, pool_frame
from echoapex.models.encoder import TaskModel, standardise
from echoapex.models.registry import ADAPTER, SetPaths, find_set
from echoapex.phantom import SIMULATOR_VERSION
from echoapex.recipes.clips import open_phantom_store
from echoapex.recipes.recipe import Lineage, TaskRecipe, Workload, Workspace
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.tasks.trained_set import blocks_of, build_segmenter, build_view_decoder
from echoapex.tasks.view_classification import (
    draw_mask_maps,
    fit_temperature,
    join_view_branches,
    product_of_experts,
    split_view_branches,
)
from echoapex.vocabulary import Application, View

_VIEWS, _MASKS = Application.VIEW_CLASSIFICATION.value, Application.SEGMENTATION.value
_FRAMES_AT_ONCE = 24


class ViewFromMasksTask(Task):
    """Trains the decoder of mask maps alone; encoder and segmentation do not run during training."""

    def __init__(self, decoder: ViewFromMasksDecoder, smoothing: float = 0.1) -> None:
        super().__init__()
        self.decoder = decoder
        self.smoothing = smoothing

    def loss(self, batch: MaskMapBatch) -> Loss:
        """Cross-entropy of single frames with label smoothing."""
        logits = self.decoder(batch.maps.float(), batch.overlap.float())
        return Loss.sum_of([("view", 1.0, smoothed_cross_entropy(logits, batch.view, self.smoothing))])

    @torch.no_grad()
    def cases(self, batch: MaskMapBatch) -> Cases:
        """Logits of both branches, and the true view."""
        outlines = self.decoder(batch.maps.float(), batch.overlap.float()).double()
        return {"appearance": batch.appearance.double(), "outlines": outlines, "view": batch.view}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Accuracy of each branch and of both together, and the temperature that calibrates both together."""
        appearance, outlines, view = cases["appearance"], cases["outlines"], cases["view"]
        both = product_of_experts(appearance, outlines)
        answers = {"appearance": appearance, "outlines": outlines, "frame": both}
        right = {name: (logits.argmax(dim=1) == view).double().mean() for name, logits in answers.items()}
        scores = {f"view_{name}_accuracy": share.item() for name, share in right.items()}
        return scores | {"view_temperature": fit_temperature(both, view)}


class ViewFromMasksRecipe(TaskRecipe):
    """The starting set, the simulated clips, and how their mask maps are augmented for the decoder."""

    kind: Literal["view_from_masks"] = "view_from_masks"
    start: str
    """Name or directory of a set of bundles whose view classification and segmentation read the same tokens."""
    decoder: ViewFromMasksConfig = ViewFromMasksConfig()
    stores: dict[str, PhantomStoreConfig] = Field(min_length=1)
    validation: PhantomStoreConfig
    drawn: int = Field(default=4800, ge=1)
    """Number of augmented frames for which mask maps are drawn, once."""
    emphasis: dict[View, int] = Field(default_factory=dict)
    """How many times as often as other views a view is drawn."""
    augment: AugmentConfig = AugmentConfig()
    seed: int = 0
    batch_size: int = Field(default=96, ge=1)
    lost: float = Field(default=0.1, ge=0, lt=1)
    """Probability with which a structure is removed, as if it had not been found."""
    shift: int = Field(default=2, ge=0)
    """Largest shift of the maps of a frame in each direction, in cells."""

    def simulated_patients(self) -> tuple[Mapping[str, PhantomStoreConfig], PhantomStoreConfig | None]:
        """The phantom stores of training, and that of validation."""
        return self.stores, self.validation

    def build(self, workspace: Workspace) -> Workload:
        """Draw clips and, once, the mask maps of their frames; build the task."""
        bundles = _Bundles.load(find_set(self.start))
        stores = [open_phantom_store(name, config, workspace) for name, config in self.stores.items()]
        shown = FrameSourceConfig(
            batch_size=_FRAMES_AT_ONCE, sizes=((0, bundles.size),), emphasis=self.emphasis, seed=self.seed,
            augment=self.augment,
        )  # fmt: skip
        models = _FrozenModels(bundles, self.decoder.side)
        taught_by = " ".join(config.model_dump_json() for config in (*self.stores.values(), shown))
        known = _Drawing(taught_by, FrameSource(stores, shown), math.ceil(self.drawn / _FRAMES_AT_ONCE), self.drawn)
        taught = known.outline(models, "outlines", workspace)
        source, whole = MaskMapSource(taught, self), self.judging(workspace)
        return Workload(ViewFromMasksTask(ViewFromMasksDecoder.build(self.decoder)), source, whole, len(whole))

    def judging(self, workspace: Workspace) -> WholeMaskMaps:
        """Mask maps, and logits of the other branch, of every labelled frame of the held-back clips."""
        bundles = _Bundles.load(find_set(self.start))
        held_back = open_phantom_store("validation", self.validation, workspace)
        frames = HeldBackFrames(held_back, bundles.size, _FRAMES_AT_ONCE)
        told_apart = f"{self.validation.model_dump_json()} every frame once {bundles.size}"
        drawing = _Drawing(told_apart, frames, len(frames), frames.frames)
        models = _FrozenModels(bundles, self.decoder.side)
        return WholeMaskMaps(drawing.outline(models, "outline-validation", workspace), self.batch_size)

    def starts(self) -> Sequence[Path]:
        """Bundles of the starting set that process a frame: encoder, adapter, views and segmentation."""
        bundles = _Bundles.load(find_set(self.start))
        return [each.directory for each in (bundles.encoder, bundles.views, bundles.masks, bundles.adapter) if each]

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write a copy of the starting set, with the new decoder in the bundle of its view classification."""
        assert isinstance(task, ViewFromMasksTask)
        paths = find_set(self.start)
        bundles = _Bundles.load(paths)
        both = join_view_branches(split_view_branches(bundles.views.state)[0], task.decoder.state_dict())
        # real patients differ from simulated ones: simulated validation may lower the confidence, never raise it
        temperature = max(1.0, lineage.metrics.get("validation/view_temperature", 1.0))
        card = lineage.card(
            "task",
            bundles.size,
            task=_VIEWS,
            architecture={
                **bundles.views.card.architecture,
                "outlines": self.decoder.model_dump(mode="json"),
                "segmentation_sha256": bundles.masks.digest,
            },
            label_order=bundles.views.card.label_order,
            calibration={"temperature": round(temperature, 3)},
            base_encoder_sha256=bundles.views.card.base_encoder_sha256,
            adapter_sha256=bundles.views.card.adapter_sha256,
        )
        for name, place in paths.bundles.items():
            if place.resolve() != (directory / name).resolve():
                shutil.copytree(place, directory / name, dirs_exist_ok=True)
        save_bundle(directory / _VIEWS, both, card, half=True)
        if bundles.adapter is not None:
            shutil.copytree(bundles.adapter.directory, directory / _VIEWS / ADAPTER)


@dataclass(frozen=True, eq=False)
class _Bundles:
    """View classification and segmentation of a set, which must read the same tokens."""

    encoder: Bundle
    views: Bundle
    masks: Bundle
    adapter: Bundle | None

    @classmethod
    def load(cls, paths: SetPaths) -> _Bundles:
        """Load the bundles of a set that has both tasks.

        Raises:
            BundleError: one is missing or damaged, or they need another size, other depths or another adapter.
        """
        for name in (_VIEWS, _MASKS):
            if name not in paths.bundles:
                raise BundleError(f"{paths.directory}: has no {name} of its own; give a set that has")
        encoder, views, adapter = paths.find_task(_VIEWS).load()
        _, masks, _ = paths.find_task(_MASKS).load()
        passes = [(each.card.preprocessing.size, blocks_of(each), each.card.adapter_sha256) for each in (views, masks)]
        if passes[0] != passes[1]:
            raise BundleError(
                f"{paths.directory}: its views and its segmentation do not read the same pass (size, depths, adapter); "
                "give a set whose tasks were taught together"
            )
        return cls(encoder, views, masks, adapter)

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return self.views.card.preprocessing.size[0]

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of all bundles that process a frame."""
        adapter = [self.adapter.digest] if self.adapter is not None else []
        return (self.encoder.digest, self.views.digest, self.masks.digest, *adapter)


class _FrozenModels:
    """The frozen models that draw mask maps and classify the pooled tokens, on the CPU."""

    def __init__(self, bundles: _Bundles, side: int) -> None:
        self._side = side
        self._segmenter = build_segmenter(bundles.masks).eval()
        self._views = build_view_decoder(bundles.views).eval()
        encoder = build_encoder_from(bundles.encoder).eval()
        adapter = build_adapter_from(bundles.adapter, encoder) if bundles.adapter is not None else None
        self._model = TaskModel(encoder, blocks_of(bundles.masks), bundles.size, adapter)
        self.digest = " ".join((*bundles.digests, str(side)))
        """Of everything that a mask map depends on, except the frame."""

    @torch.inference_mode()
    def draw(self, batch: FrameBatch) -> dict[str, np.ndarray]:
        """The fields of a :class:`MaskMapBatch` of these frames."""
        images = standardise(batch.pixels)
        with self._model.adapted() as encoder:
            tokens = encoder.forward_blocks(images, self._model.blocks)
        drawn = draw_mask_maps(self._segmenter, tokens, images, self._side)
        appearance = self._views(pool_frame(tokens[-1])[:, None], None)
        return {
            "maps": drawn.maps.half().numpy(),
            "overlap": drawn.overlap.numpy(),
            "appearance": appearance.float().numpy(),
            "view": batch.view.numpy(),
        }


@dataclass(frozen=True, eq=False)
class _Drawing:
    """Frames whose mask maps are drawn.

    Attributes:
        identity: text that distinguishes these frames from others.
        frames: where the frames come from.
        batches: number of batches to take.
        count: number of frames kept of these batches.
    """

    identity: str
    frames: BatchSource
    batches: int
    count: int

    def outline(self, models: _FrozenModels, name: str, workspace: Workspace) -> dict[str, np.ndarray]:
        """The mask maps of all frames; those drawn before are read from disk."""
        digest = hashlib.sha256(f"{SIMULATOR_VERSION} {self.identity} {models.digest}".encode()).hexdigest()
        place = workspace.directory / "features" / f"{name}-{digest[:12]}"
        place.mkdir(parents=True, exist_ok=True)
        parts, done = [], 0
        for run in range(self.batches):
            path = place / f"part-{run:05d}.npz"
            if not path.exists():
                partial = path.with_suffix(".partial.npz")
                np.savez(partial, allow_pickle=False, **models.draw(self.frames.batch(run)))
                partial.rename(path)
            with np.load(path) as part:
                parts.append(dict(part))
            done = min(self.count, done + len(parts[-1]["view"]))
            workspace.progress(f"frames, {name}", done, self.count)
        return {key: np.concatenate([part[key] for part in parts])[: self.count] for key in parts[0]}


class MaskMapSource:
    """Training batches of mask maps, each shifted a little, with some structures removed.

    Args:
        mask_maps: of all frames, by field of the batch.
        recipe: batch size and augmentation.
        places: which frames of every batch are given; by default all.
    """

    def __init__(
        self, mask_maps: Mapping[str, np.ndarray], recipe: ViewFromMasksRecipe, places: range | None = None
    ) -> None:
        self._mask_maps = mask_maps
        self._recipe = recipe
        self._places = range(recipe.batch_size) if places is None else places

    def share(self, rank: int, count: int) -> MaskMapSource:
        """The frames of every batch that belong to process ``rank`` of ``count``.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        places = own_places(self._recipe.batch_size, rank, count, "task.batch_size")
        return MaskMapSource(self._mask_maps, self._recipe, places)

    def batch(self, step: int) -> MaskMapBatch:
        """The batch of a training step."""
        recipe, known = self._recipe, self._mask_maps
        first, count = step * recipe.batch_size, len(known["view"])
        rng = np.random.default_rng([recipe.seed, 401, step])
        own = slice(self._places.start, self._places.stop)
        moves = rng.integers(-recipe.shift, recipe.shift + 1, (recipe.batch_size, 2))[own]
        kept = rng.random((recipe.batch_size, known["overlap"].shape[1]))[own] >= recipe.lost
        rows = [shuffled_index(recipe.seed, first + place, count) for place in self._places]
        maps = np.stack([moved(known["maps"][row], *move) for row, move in zip(rows, moves, strict=True)])
        return _as_batch({
            **{name: values[rows] for name, values in known.items()},
            "maps": maps * kept[:, :, None, None], "overlap": known["overlap"][rows] * kept,
        })  # fmt: skip


def moved(maps: np.ndarray, down: int, right: int) -> np.ndarray:
    """Maps shifted by whole cells; cells that enter from outside are zero.

    Args:
        maps: ``(structures, side, side)``.
        down: cells; negative is up.
        right: cells; negative is left.
    """
    side, reach = maps.shape[-1], max(abs(down), abs(right))
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    return padded[:, reach - down : reach - down + side, reach - right : reach - right + side]


class WholeMaskMaps:
    """Validation batches: every frame once, without augmentation."""

    def __init__(self, mask_maps: Mapping[str, np.ndarray], batch_size: int) -> None:
        self._mask_maps = mask_maps
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._mask_maps["view"]) / self._batch_size)

    def batch(self, step: int) -> MaskMapBatch:
        """Batch number ``step``."""
        first = (step % len(self)) * self._batch_size
        return _as_batch({name: values[first : first + self._batch_size] for name, values in self._mask_maps.items()})


def _as_batch(fields: Mapping[str, np.ndarray]) -> MaskMapBatch:
    return MaskMapBatch(**{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in fields.items()})
