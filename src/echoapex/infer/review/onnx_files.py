"""The segmentation of a set as ONNX files with a card beside each, for programs that run without Python.

``decoder``
    answers prompts on an encoded frame; what :meth:`ReviewClip.embedding` gives is its input.
``encoder``
    makes that input of a prepared frame.

The card (``NAME.json`` beside ``NAME.onnx``) holds names and shapes, how frames are prepared, the vocabulary, the rules
by which a click is merged into the mask before it, licence and digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from echoapex.config import Config
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.interactive.clicks import MERGE_HALVINGS, MERGE_MARGIN, OUTSIDE_LOGIT, REACH
from echoapex.infer.review.review_clip import ReviewModels
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import read_card
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel
from echoapex.models.onnx_graph import (
    ANSWER_NAMES,
    EMBEDDING_NAMES,
    OPSET,
    FrameGraph,
    OnnxExportError,
    PromptGraph,
    export_graph,
)
from echoapex.models.registry import find_set
from echoapex.version import __version__
from echoapex.vocabulary import Application, Structure

Part = Literal["decoder", "encoder"]
PREPARATION = (
    "grey by luminance (ITU-R BT.601)",
    "0 outside the ultrasound sector",
    "a square as wide as the longer side of the sector's box, from its upper edge, centred on it sideways",
    "resized to input_size by area (linearly where it is enlarged)",
    "zero mean and unit variance per frame; the encoder's graph does this itself",
)


class TensorShape(Config):
    """One input or output of a graph; a name in the place of a size is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class OnnxCard(Config):
    """What a program must know to run an exported graph."""

    card_version: Literal["1"] = "1"
    part: Part
    file: str
    sha256: str = Field(description="of the .onnx file")
    size_bytes: int
    opset: int = OPSET
    bundle: str = Field(description="name of the set of weights")
    weights_sha256: dict[str, str]
    licence: str
    non_commercial: bool = False
    training_data: tuple[str, ...]
    input_size: int = Field(description="side of the square frame in pixels; points are in pixels of this square")
    mask_size: int = Field(description="side of mask_input and of the logits; mask pixel i lies at 2 i + 0.5")
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    preparation: tuple[str, ...] = PREPARATION
    structures: dict[str, int] = Field(default_factory=lambda: {each.key: int(each) for each in Structure})
    no_structure: int = NO_STRUCTURE
    point_labels: dict[str, int] = Field(default_factory=lambda: {each.name.lower(): int(each) for each in PointLabel})
    merge: dict[str, float] = Field(
        default={
            "reach": REACH,
            "halvings": MERGE_HALVINGS,
            "margin": MERGE_MARGIN,
            "outside_logit": OUTSIDE_LOGIT,
        },
        description="constants of echoapex.infer.interactive.clicks.merge_correction",
    )
    echoapex_version: str = __version__
    disclaimer: str = DISCLAIMER


def export_promptable_decoder(models: ReviewModels, path: Path) -> OnnxCard:
    """Write the promptable decoder of a set as ONNX, and its card beside it.

    Args:
        models: the set; its weights are on the CPU.
        path: the ``.onnx`` file.

    Raises:
        OnnxExportError: onnx is not installed, or the weights are on a GPU.
    """
    model = _on_cpu(models).interpreter.models
    encoder = model.encoders[Application.SEGMENTATION]
    side = encoder.input_size
    graph = PromptGraph(model.segmentation.decoder, encoder.encoder.grid_of(side, side), side).eval()
    return _write(models, "decoder", path, (graph, graph.example(), ANSWER_NAMES))


def export_frame_encoder(models: ReviewModels, path: Path) -> OnnxCard:
    """Write the encoder that the decoder of a set reads as ONNX, and its card beside it.

    Args:
        models: the set; its weights are on the CPU.
        path: the ``.onnx`` file.

    Raises:
        OnnxExportError: onnx is not installed, or the weights are on a GPU.
    """
    model = _on_cpu(models).interpreter.models
    encoder = model.encoders[Application.SEGMENTATION]
    side = encoder.input_size
    levels = torch.arange(side * side).remainder(251).to(torch.uint8)
    example = {"pixels": levels.reshape(1, side, side)}
    with encoder.adapted() as network:
        graph = FrameGraph(network, encoder.blocks, model.segmentation.decoder, side).eval()
        return _write(models, "encoder", path, (graph, example, EMBEDDING_NAMES))


def _on_cpu(models: ReviewModels) -> ReviewModels:
    if models.device != "cpu":
        raise OnnxExportError(f"the weights are on {models.device}; load the set on the CPU to export it")
    return models


def _write(
    models: ReviewModels,
    part: Part,
    path: Path,
    traced: tuple[torch.nn.Module, Mapping[str, Tensor], Sequence[str]],
) -> OnnxCard:
    graph, example, names = traced
    found = find_set(models.origin).find_task(Application.SEGMENTATION.value)
    cards = [read_card(folder) for folder in (found.decoder, found.encoder)]
    licences = dict.fromkeys(card.licence for card in cards)
    export_graph(graph, example, names, path, {"bundle": models.name, "disclaimer": DISCLAIMER})
    with torch.inference_mode():
        answers = graph(*example.values())
    encoder = models.interpreter.models.encoders[Application.SEGMENTATION]
    content = path.read_bytes()
    card = OnnxCard(
        part=part,
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        bundle=models.name,
        weights_sha256=dict(encoder.digests),
        licence="; ".join(licences),
        non_commercial=any(card.non_commercial for card in cards),
        training_data=tuple(dict.fromkeys(item for card in cards for item in card.training_data)),
        input_size=encoder.input_size,
        mask_size=encoder.input_size // 2,
        inputs=tuple(_shape(name, tensor) for name, tensor in example.items()),
        outputs=tuple(_shape(name, tensor) for name, tensor in zip(names, answers, strict=True)),
    )
    write_bytes_atomically(card_path(path), (card.model_dump_json(indent=1) + "\n").encode())
    return card


def card_path(path: Path) -> Path:
    """Where the card of an exported graph lies: ``decoder.json`` beside ``decoder.onnx``."""
    return path.with_suffix(".json")


def _shape(name: str, tensor: Tensor) -> TensorShape:
    shape: tuple[int | str, ...] = tuple(tensor.shape)
    if name in ("point_coords", "point_labels"):
        shape = (shape[0], "points", *shape[2:])
    return TensorShape(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=shape)
