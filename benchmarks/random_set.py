"""A set of bundles with the shipped architecture and random weights: its speed can be measured before any training."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from echoapex.config import read_recipe
from echoapex.models.bundle import Card, load_bundle
from echoapex.models.decoders.spatiotemporal import ClipDecoder
from echoapex.models.registry import DEFAULT_SET, find_set
from echoapex.recipes.ejection_fraction import EjectionFractionRecipe
from echoapex.recipes.multitask import MultiTaskRecipe
from echoapex.recipes.recipe import Provenance, TaskRecipe
from echoapex.recipes.runner import build_recipe, find_recipe
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.vocabulary import Application, View

RANDOM = "random"
FRAME_RECIPE, CLIP_RECIPE = "phantom_multitask", "phantom_ejection_fraction"
_CERTAIN_LOGIT = 20.0
_PROVENANCE = Provenance(name="random", training_data=("none: random weights, for timing only",))


def find_bundles(name_or_path: str, folder: Path) -> Path:
    """The directory of a set; ``random`` makes one in ``folder``.

    Args:
        name_or_path: ``random``, the name of a set, or its directory.
        folder: an empty or absent directory for a random set.

    Raises:
        BundleError: there is no such set.
    """
    if name_or_path == RANDOM:
        return write_random_set(folder)
    return find_set(name_or_path or DEFAULT_SET).directory


def write_random_set(folder: Path, seed: int = 0) -> Path:
    """Write encoder and decoders of the shipped recipes with random weights.

    The bias of the view decoder says A4C, because the analysis of an unrecognised view ends early: every part of the
    work on an apical clip is done.

    Returns:
        ``folder``.
    """
    torch.manual_seed(seed)
    frame_recipe, clip_recipe = _task_recipe(FRAME_RECIPE), _task_recipe(CLIP_RECIPE)
    assert isinstance(frame_recipe, MultiTaskRecipe) and isinstance(clip_recipe, EjectionFractionRecipe)
    frames = frame_recipe.build_task()
    with torch.no_grad():
        frames.view.decoder.classifier.bias[list(View).index(View.A4C)] = _CERTAIN_LOGIT
    frame_recipe.export(frames, folder, _PROVENANCE)
    encoder = frames.view.encoder
    clips = EjectionFraction(encoder, ClipDecoder.build(clip_recipe.decoder), (len(encoder.blocks) - 1,))
    # an export brings its encoder along: made beside the set, the decoder alone is moved in
    beside = folder / ".clips"
    clip_recipe.model_copy(update={"encoder_bundle": folder / "encoder"}).export(clips, beside, _PROVENANCE)
    decoder_name = Application.EJECTION_FRACTION.value
    (beside / decoder_name).rename(folder / decoder_name)
    shutil.rmtree(beside)
    return folder


def describe_set(folder: Path) -> dict[str, object]:
    """Name, architecture and weights digest of the encoder of a set, for the record of a benchmark."""
    card: Card = load_bundle(find_set(folder).encoder).card
    return {"name": card.name, "encoder": card.architecture, "weights_sha256": dict(card.files)}


def _task_recipe(name: str) -> TaskRecipe:
    path = find_recipe(name)
    return build_recipe(read_recipe(path), str(path)).task
