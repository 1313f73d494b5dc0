"""The trained models of a set, ready for inference: each task with the encoder on which it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from echoapex.config import Config, build_config
from echoapex.models.adapters import Adapter, build_adapter_from
from echoapex.models.bundle import Bundle, build_encoder_from, load_bundle
from echoapex.models.decoders.linear import (
    LinearViewConfig,
    LinearViewDecoder,
    ViewFromMasksConfig,
    ViewFromMasksDecoder,
)
from echoapex.models.decoders.multiscale import WallPointConfig, WallPointDecoder
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder
from echoapex.models.encoder import TaskModel, VisionTransformer
from echoapex.models.registry import ADAPTER, DEFAULT_SET, ENCODER, SetPaths, find_outlining_segmentation, find_set
from echoapex.models.weights_file import load_weights
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.view_classification import (
    NOT_ECHO,
    NotEchoConfig,
    NotEchoHead,
    ViewClassification,
    ViewFromMasks,
    split_not_echo,
    split_view_branches,
)
from echoapex.vocabulary import Application

C = TypeVar("C", bound=Config)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class TrainedSet:
    """The four tasks of a set. ``encoders`` says for each task which encoder to run and which outputs to keep.

    Tasks that share an encoder object, an adapter (or none) and an input size share its tokens: ``shared_blocks`` are
    the depths that any of them reads.
    """

    view_classification: ViewClassification
    segmentation: SegmentationTask
    lv_wall: LvWall
    ejection_fraction: EjectionFraction
    encoders: dict[Application, TaskModel]
    digests: dict[str, str]

    def shared_blocks(self, application: Application) -> tuple[int, ...]:
        """All depths that the tasks of one encoder pass read, shallow first."""
        key = self.encoders[application].pass_key
        users = [model for model in self.encoders.values() if model.pass_key == key]
        return tuple(sorted({block for model in users for block in model.blocks}))


@dataclass(frozen=True, eq=False)
class ViewModel:
    """The view classifier of a set, with the encoder on which it was trained."""

    task: ViewClassification
    model: TaskModel
    digests: dict[str, str]


def load_view_model(paths: SetPaths, device: torch.device | str = "cpu") -> ViewModel:
    """Load the view classifier of a set for single frames, or that of the default set if the set has none.

    The branch of masks is for whole clips and is not loaded.

    Raises:
        BundleError: a file is damaged, or parts do not belong together.
    """
    found = paths.find_task(Application.VIEW_CLASSIFICATION.value)
    encoder_bundle, bundle, adapter_bundle = found.load()
    encoder = build_encoder_from(encoder_bundle).to(device)
    adapter = build_adapter_from(adapter_bundle, encoder).to(device) if adapter_bundle is not None else None
    blocks, size = blocks_of(bundle), bundle.card.preprocessing.size[0]
    task = _view_task(encoder, bundle, None).to(device).eval().requires_grad_(False)
    digests = {"encoder": encoder_bundle.digest, "decoder": bundle.digest}
    if adapter_bundle is not None:
        digests["adapter"] = adapter_bundle.digest
    return ViewModel(task, TaskModel(encoder, blocks, size, adapter), digests)


def load_models(name_or_path: str | Path = DEFAULT_SET, device: torch.device | str = "cpu") -> TrainedSet:
    """Load a set of bundles, each decoder with its own encoder; encoders are built once each.

    Raises:
        BundleError: there is no such set, a file is damaged, or parts do not belong together.
    """
    paths = find_set(name_or_path)
    encoders: dict[str, VisionTransformer] = {}
    loaded: dict[Application, tuple[VisionTransformer, Bundle]] = {}
    digests: dict[str, str] = {}
    passes: dict[Application, TaskModel] = {}
    by_digest: dict[str, Adapter] = {}
    for application in Application:
        task_paths = paths.find_task(application.value)
        encoder_bundle, decoder_bundle, adapter_bundle = task_paths.load()
        if encoder_bundle.digest not in encoders:
            encoders[encoder_bundle.digest] = build_encoder_from(encoder_bundle).to(device)
        encoder = encoders[encoder_bundle.digest]
        loaded[application] = (encoder, decoder_bundle)
        place = f"{task_paths.set_name}/{application.value}"
        used = {place: decoder_bundle.digest, f"{task_paths.set_name}/{ENCODER}": encoder_bundle.digest}
        adapter = None
        if adapter_bundle is not None:
            if adapter_bundle.digest not in by_digest:
                by_digest[adapter_bundle.digest] = build_adapter_from(adapter_bundle, encoder).to(device)
            adapter = by_digest[adapter_bundle.digest]
            used[f"{place}/{ADAPTER}"] = adapter_bundle.digest
        size = decoder_bundle.card.preprocessing.size[0]
        passes[application] = TaskModel(encoder, blocks_of(decoder_bundle), size, adapter, used)
        digests |= used
        if outlining := decoder_bundle.card.architecture.get("segmentation_sha256"):
            digests[f"{task_paths.set_name}/{Application.SEGMENTATION.value}"] = str(outlining)
    return _assemble(loaded, passes, digests, device)


def _assemble(
    loaded: dict[Application, tuple[VisionTransformer, Bundle]],
    passes: dict[Application, TaskModel],
    digests: dict[str, str],
    device: torch.device | str,
) -> TrainedSet:
    view_encoder, view = loaded[Application.VIEW_CLASSIFICATION]
    mask_encoder, mask = loaded[Application.SEGMENTATION]
    wall_encoder, wall = loaded[Application.LV_WALL]
    clip_encoder, clip = loaded[Application.EJECTION_FRACTION]
    calibration = clip.card.calibration
    segmenter = build_segmenter(mask)
    tasks = TrainedSet(
        _view_task(view_encoder, view, _mask_branch(view, mask.directory, segmenter)),
        SegmentationTask(mask_encoder, segmenter, blocks_of(mask)),
        LvWall(wall_encoder, build_wall_decoder(wall), blocks_of(wall)),
        EjectionFraction(
            clip_encoder,
            _filled(ClipDecoder.build(_config(ClipConfig, clip)), clip),
            blocks_of(clip),
            float(calibration.get("interval_factor", 1.0)),  # type: ignore[arg-type]
        ),
        passes,
        digests,
    )
    for task in (tasks.view_classification, tasks.segmentation, tasks.lv_wall, tasks.ejection_fraction):
        task.to(device).eval().requires_grad_(False)
    return tasks


def _view_task(encoder: VisionTransformer, bundle: Bundle, mask_branch: ViewFromMasks | None) -> ViewClassification:
    temperature = float(bundle.card.calibration.get("temperature", 1.0))  # type: ignore[arg-type]
    task = ViewClassification(
        encoder, build_view_decoder(bundle), blocks_of(bundle), temperature, mask_branch=mask_branch
    )
    task.not_echo = _not_echo_head(bundle)
    return task


def _not_echo_head(bundle: Bundle) -> NotEchoHead | None:
    """The head that recognises pictures that are no echocardiogram; most sets have none."""
    if NOT_ECHO not in bundle.card.architecture:
        return None
    head = NotEchoHead(_config(NotEchoConfig, bundle, NOT_ECHO))
    load_weights(head, split_not_echo(bundle.state)[1], bundle.directory)
    return head


def build_view_decoder(bundle: Bundle) -> LinearViewDecoder:
    """The decoder of pooled tokens in a bundle of view classification, without the branch of masks beside it."""
    decoder = LinearViewDecoder.build(_config(LinearViewConfig, bundle))
    load_weights(decoder, split_not_echo(split_view_branches(bundle.state)[0])[0], bundle.directory)
    return decoder


def build_segmenter(bundle: Bundle) -> PromptableDecoder:
    """The decoder of a segmentation bundle."""
    return _filled(PromptableDecoder.build(_config(PromptableConfig, bundle)), bundle)


def build_wall_decoder(bundle: Bundle) -> WallPointDecoder:
    """The decoder of a bundle of wall points."""
    return _filled(WallPointDecoder.build(_config(WallPointConfig, bundle)), bundle)


def _mask_branch(view: Bundle, loaded: Path, segmenter: PromptableDecoder) -> ViewFromMasks | None:
    """The branch that reads the view from masks, if the bundle has one, with the segmentation of the same set.

    Args:
        view: the bundle of view classification.
        loaded: a segmentation bundle that is already in memory, of this set or of another.
        segmenter: the decoder of ``loaded``.

    Raises:
        BundleError: the segmentation is missing, damaged, or not the one on which the branch was trained.
    """
    place = find_outlining_segmentation(view.directory, view.card)
    if place is None:
        return None
    decoder = ViewFromMasksDecoder.build(_config(ViewFromMasksConfig, view, "outlines"))
    load_weights(decoder, split_view_branches(view.state)[1], view.directory)
    return ViewFromMasks(segmenter if place == loaded else build_segmenter(load_bundle(place)), decoder)


def _config(kind: type[C], bundle: Bundle, part: str = "decoder") -> C:
    section = bundle.card.architecture[part]
    assert isinstance(section, dict)
    return build_config(kind, section, f"{bundle.directory}: architecture.{part}")


def _filled(decoder: M, bundle: Bundle) -> M:
    load_weights(decoder, bundle.state, bundle.directory)
    return decoder


def blocks_of(bundle: Bundle) -> tuple[int, ...]:
    """The encoder depths that a task bundle reads."""
    blocks = bundle.card.architecture["blocks"]
    assert isinstance(blocks, list)
    return tuple(int(block) for block in blocks)  # type: ignore[arg-type]
