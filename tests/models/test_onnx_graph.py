"""Exported graphs answer as the modules do, for every kind of prompt."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_tasks import BLOCKS, IMAGE_SIZE, build_tasks
from torch import Tensor

from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.models.decoders.promptable import ImageEmbedding, PromptableConfig, PromptableDecoder
from echoapex.models.encoder import EncoderConfig, VisionTransformer, standardise
from echoapex.models.onnx_graph import (
    ANSWER_NAMES,
    EMBEDDING_NAMES,
    FrameGraph,
    OnnxExportError,
    PromptGraph,
    export_graph,
)
from echoapex.vocabulary import Structure

SIDE = IMAGE_SIZE // 2
Points = list[tuple[float, float, PointLabel]]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def parts() -> tuple[PromptableDecoder, VisionTransformer]:
    multitask = build_tasks(seed=3).multitask.eval()
    return multitask.segmentation.decoder, multitask.encoder


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 255, (1, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def embedding(parts: tuple[PromptableDecoder, VisionTransformer], pixels: Tensor) -> ImageEmbedding:
    decoder, encoder = parts
    images = standardise(pixels)
    with torch.inference_mode():
        return decoder.embed(encoder.forward_blocks(images, BLOCKS), images)


@pytest.fixture(scope="module")
def exported(parts: tuple[PromptableDecoder, VisionTransformer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("onnx") / "decoder.onnx"
    graph = PromptGraph(parts[0], parts[1].grid_of(IMAGE_SIZE, IMAGE_SIZE), IMAGE_SIZE).eval()
    export_graph(graph, graph.example(), ANSWER_NAMES, path, {"bundle": "tiny"})
    return path


@pytest.mark.parametrize("structure", [NO_STRUCTURE, int(Structure.LV_CAVITY)])
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize(
    "points",
    [
        [(0.0, 0.0, PointLabel.PADDING)],
        [(20.0, 30.5, PointLabel.POSITIVE)],
        [(20.0, 30.5, PointLabel.POSITIVE), (40.0, 8.0, PointLabel.NEGATIVE), (5.0, 60.0, PointLabel.NEGATIVE)],
        [(10.0, 12.0, PointLabel.BOX_FIRST_CORNER), (50.0, 40.0, PointLabel.BOX_LAST_CORNER)],
    ],
    ids=["name", "point", "points", "box"],
)
def test_the_decoder_answers_every_prompt(
    parts: tuple[PromptableDecoder, VisionTransformer],
    embedding: ImageEmbedding,
    exported: Path,
    points: Points,
    has_mask: bool,
    structure: int,
) -> None:
    mask = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 4
    coords = torch.tensor([[[x, y] for x, y, _ in points]])
    labels = torch.tensor([[int(label) for _, _, label in points]])
    prompts = PromptBatch(torch.tensor([[structure]]), coords[None], labels[None], mask if has_mask else None)
    with torch.inference_mode():
        expected = parts[0](embedding, prompts)
    features = (embedding.patches, embedding.fine.half, embedding.fine.quarter)
    logits, iou = session(exported).run(
        list(ANSWER_NAMES),
        {
            **{name: part.numpy() for name, part in zip(EMBEDDING_NAMES, features, strict=True)},
            "point_coords": coords.numpy(),
            "point_labels": labels.numpy(),
            "structure": np.array([structure]),
            "mask_input": mask.numpy(),
            "has_mask": np.array([float(has_mask)], np.float32),
        },
    )
    wanted = expected.logits.numpy()
    assert np.abs(logits - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert np.mean((logits > 0) == (wanted > 0)) > 0.999
    assert iou == pytest.approx(expected.iou[0].numpy(), abs=1e-4)


@pytest.mark.parametrize("position", ["table", "rotary"])
def test_the_encoder_gives_the_embedding(position: str, pixels: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = EncoderConfig.model_validate({"size": "tiny", "image_size": 2 * IMAGE_SIZE, "position": position})
    encoder = VisionTransformer(config).eval()
    sizes = {"dim": 32, "hidden": 32, "half_channels": 8, "quarter_channels": 8, "pyramid_blocks": 1}
    decoder = PromptableDecoder.build(PromptableConfig(width=config.width, **sizes)).eval()
    graph = FrameGraph(encoder, BLOCKS, decoder, IMAGE_SIZE).eval()
    export_graph(graph, {"pixels": pixels}, EMBEDDING_NAMES, tmp_path / "encoder.onnx", {})
    images = standardise(pixels)
    with torch.inference_mode():
        wanted = decoder.embed(encoder.forward_blocks(images, BLOCKS), images)
    found = session(tmp_path / "encoder.onnx").run(list(EMBEDDING_NAMES), {"pixels": pixels.numpy()})
    for array, tensor in zip(found, (wanted.patches, wanted.fine.half, wanted.fine.quarter), strict=True):
        assert array == pytest.approx(tensor.numpy(), abs=2e-3)


def test_a_file_says_nothing_of_the_machine_that_exported(exported: Path) -> None:
    content = exported.read_bytes()
    assert b"tiny" in content
    assert str(Path(__file__).resolve().parents[2]).encode() not in content
    assert b".py" not in content


def test_without_onnx_the_remedy_is_named(
    parts: tuple[PromptableDecoder, VisionTransformer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    graph = PromptGraph(parts[0], parts[1].grid_of(IMAGE_SIZE, IMAGE_SIZE), IMAGE_SIZE)
    with pytest.raises(OnnxExportError, match=r"echoapex\[onnx\]"):
        export_graph(graph, graph.example(), ANSWER_NAMES, tmp_path / "decoder.onnx", {})
    assert not list(tmp_path.iterdir())
