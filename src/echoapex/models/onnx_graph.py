"""Encoder and promptable decoder as ONNX graphs, for programs without PyTorch: a browser, another language.

The decoder's graph answers one prompt on one frame. Its inputs are what :meth:`PromptableDecoder.embed` gives for the
frame, so that a click costs the small decoder alone. Where PyTorch uses an operation that few runtimes have (resizing
with antialiasing), the graph multiplies by the matrix of that operation instead: the result is the same.

The graphs are traced by the exporter that needs no package beside ``onnx``, in opset 17, which ONNX Runtime Web reads.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from echoapex.io.temporary_files import replace_when_complete
from echoapex.models.attention import Grid, PositionTable
from echoapex.models.decoders.mask_decoder import FineFeatures, PromptTokens
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.models.encoder import VisionTransformer, standardise

OPSET = 17
EMBEDDING_NAMES = ("image_embeddings", "half_features", "quarter_features")
PROMPT_NAMES = ("point_coords", "point_labels", "structure", "mask_input", "has_mask")
ANSWER_NAMES = ("low_res_logits", "iou")
_EXAMPLE_POINTS = 2


class OnnxExportError(ValueError):
    """An export that is impossible here; the message says what to install or change."""


class PromptGraph(nn.Module):
    """The promptable decoder with one prompt as plain tensors.

    Args:
        decoder: the decoder; it is used, not copied.
        grid: patches per column and row.
        input_size: side of the square frame in pixels.
    """

    shrink: Float[Tensor, "small large"]
    position: Float[Tensor, "patches dim"]

    def __init__(self, decoder: PromptableDecoder, grid: tuple[int, int], input_size: int) -> None:
        super().__init__()
        self.decoder, self.grid, self.input_size = decoder, grid, input_size
        side = input_size // 2
        rows = torch.eye(side)[None, None]
        size = (4 * grid[0], side)
        # each output row of an antialiased resize is a weighted sum of input rows, whatever the columns
        weights = nn.functional.interpolate(rows, size=size, mode="bilinear", antialias=True)[0, 0]
        self.register_buffer("shrink", weights)
        self.register_buffer("position", decoder.prompt_encoder.place.of_grid(grid).cpu())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at half resolution ``(1, 1, half, half)`` and the predicted IoU ``(1,)``; inputs as in ``example``."""
        patches, half, quarter, coords, labels, structure, mask, has_mask = inputs
        encoder = self.decoder.prompt_encoder
        points, real = encoder.encode_points(coords, labels, (self.input_size, self.input_size))
        names = encoder.encode_names(structure)[:, None]
        names_mask = torch.ones_like(structure, dtype=torch.bool)[:, None]
        surety = self.shrink @ torch.tanh(0.5 * mask) @ self.shrink.T
        earlier = encoder.mask_patches(surety).flatten(2).transpose(1, 2)
        patches = patches + has_mask * earlier + (1 - has_mask) * encoder.no_mask
        tokens = PromptTokens(names, names_mask, points, real)
        fine = FineFeatures(half, quarter)
        logits, iou = self.decoder.mask_decoder(tokens, patches, self.position, self.grid, fine)
        return logits, iou[:, 0]

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes, by name in the order of ``forward``."""
        config, side = self.decoder.config, self.input_size
        return {
            "image_embeddings": torch.zeros(1, self.grid[0] * self.grid[1], config.dim),
            "half_features": torch.zeros(1, config.half_channels, side // 2, side // 2),
            "quarter_features": torch.zeros(1, config.quarter_channels, side // 4, side // 4),
            "point_coords": torch.zeros(1, _EXAMPLE_POINTS, 2),
            "point_labels": torch.ones(1, _EXAMPLE_POINTS, dtype=torch.long),
            "structure": torch.ones(1, dtype=torch.long),
            "mask_input": torch.zeros(1, 1, side // 2, side // 2),
            "has_mask": torch.ones(1),
        }


class _FixedPositions(PositionTable):
    """The position embedding of one grid, as a constant."""

    positions: Float[Tensor, "1 patches width"]

    def __init__(self, table: PositionTable, grid: Grid) -> None:
        nn.Module.__init__(self)
        self.class_position = nn.Parameter(table.class_position.detach().clone())
        self.register_buffer("positions", table(grid).detach().clone())

    def forward(self, _grid: Grid) -> Tensor:
        """The same for every image."""
        return self.positions


class FrameGraph(nn.Module):
    """A copy of the encoder together with what the decoder makes of a frame before any prompt.

    Args:
        encoder: with its adapter attached, if it has one.
        blocks: depths that the decoder reads, shallow first.
        decoder: whose ``embed`` is applied.
        input_size: side of the square frame in pixels.
    """

    def __init__(
        self, encoder: VisionTransformer, blocks: Sequence[int], decoder: PromptableDecoder, input_size: int
    ) -> None:
        super().__init__()
        self.encoder, self.blocks, self.decoder = copy.deepcopy(encoder), tuple(blocks), decoder
        table = encoder.position_table
        if table is not None:
            # it is resized by an operation that ONNX does not have; for one size it is a constant
            self.encoder.position_table = _FixedPositions(table, encoder.grid_of(input_size, input_size))

    def forward(self, pixels: UInt8[Tensor, "1 size size"]) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding of one prepared frame (grey, 0 outside the sector), as the decoder's graph wants it."""
        images = standardise(pixels)
        found = self.decoder.embed(self.encoder.forward_blocks(images, self.blocks), images)
        return found.patches, found.fine.half, found.fine.quarter


def export_graph(
    graph: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], path: Path, notes: Mapping[str, str]
) -> None:
    """Trace a graph and write it, checked, to a file.

    Args:
        graph: on the CPU, in evaluation mode.
        example: inputs by name. The number of points stays free; all other shapes are those of the example.
        outputs: names of the outputs.
        path: the file; it is replaced as a whole.
        notes: written into the file's metadata.

    Raises:
        OnnxExportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise OnnxExportError("an export to ONNX needs onnx: pip install 'echoapex[onnx]'") from None
    free = {name: {1: "points"} for name in ("point_coords", "point_labels") if name in example}
    with replace_when_complete(path) as partial:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that it takes for a constant
            torch.onnx.export(
                graph,
                tuple(example.values()),
                str(partial),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(str(partial))
        for node in model.graph.node:
            node.ClearField("doc_string")  # source paths of the machine that exported
        onnx.helper.set_model_props(model, dict(notes))
        onnx.checker.check_model(model)
        onnx.save(model, str(partial))
