"""The peer's side in ``pretrain_step.py``: DINOv2 from the building blocks of lightly; in an environment of its own.

    .venv-bench/bin/python benchmarks/pretrain_lightly.py CROPS.npz --size small-224 --precision fp32

Put together as lightly's own example does (``examples/pytorch/dinov2.py``), with two heads as in DINOv2, one channel
and four registers, so that both sides have the same numbers of parameters and tokens. lightly centres the teacher by a
moving mean, which is less work than Sinkhorn. AdamW is fused, which the example's is not, and gradients are clipped,
which the example's are not. Imports nothing of EchoApex.
"""

from __future__ import annotations

import argparse

import pretrain_turns as turns
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import update_drop_path_rate, update_momentum
from pretrain_turns import Crops, Size, main
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

WIDTHS = {"tiny": (192, 3), "small": (384, 6)}
"""Width and heads; both have 12 blocks."""


class Network(nn.Module):
    """An encoder and its two heads."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, heads = WIDTHS[size.encoder]
        vit = VisionTransformer(
            img_size=size.global_side, patch_size=turns.PATCH, in_chans=1, num_classes=0, embed_dim=width, depth=12,
            num_heads=heads, init_values=1e-5, reg_tokens=turns.REGISTERS, no_embed_class=True, dynamic_img_size=True,
            global_pool="token",
        )  # fmt: skip
        self.backbone = MaskedVisionTransformerTIMM(vit=vit, antialias=False, pos_embed_initialization="skip")
        self.class_head = DINOv2ProjectionHead(width, turns.HIDDEN, turns.BOTTLENECK, turns.PROTOTYPES)
        self.patch_head = DINOv2ProjectionHead(width, turns.HIDDEN, turns.BOTTLENECK, turns.PROTOTYPES)


class LightlySide:
    """Networks, losses and optimiser."""

    def __init__(self, size: Size, precision: str, crops: Crops) -> None:
        self._crops, self._precision = crops, precision
        self.student = Network(size)
        self.teacher = Network(size).requires_grad_(False).eval()
        self.teacher.load_state_dict(self.student.state_dict())
        update_drop_path_rate(self.student.backbone.vit, drop_path_rate=turns.DROP_PATH, mode="uniform")
        self.student.train()
        self._dino = DINOLoss(turns.PROTOTYPES, student_temp=turns.STUDENT_TEMPERATURE)
        self._ibot = IBOTPatchLoss(turns.PROTOTYPES, student_temp=turns.STUDENT_TEMPERATURE)
        self._koleo = KoLeoLoss()
        self._optimizer = torch.optim.AdamW(
            self.student.parameters(),
            lr=turns.LEARNING_RATE,
            betas=turns.BETAS,
            weight_decay=turns.WEIGHT_DECAY,
            fused=True,
        )

    def step(self, number: int) -> float:
        """One update of student and teacher."""
        torch.manual_seed(number)
        self._optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            loss = self.loss(*self._crops.batch(number))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), turns.CLIP_NORM)
        self._optimizer.step()
        update_momentum(self.student, self.teacher, m=turns.MOMENTUM)
        return loss.item()

    def loss(self, global_crops: Tensor, local_crops: Tensor, masked: Tensor) -> Tensor:
        """DINO, iBOT and KoLeo, in the order of lightly's example."""
        large, small = _standardised(global_crops.flatten(0, 1)), _standardised(local_crops.flatten(0, 1))
        side = int(masked.shape[-1] ** 0.5)
        block_mask = masked.flatten(0, 1).reshape(-1, side, side)
        mask = torch.zeros(len(large), self.teacher.backbone.sequence_length, dtype=torch.bool)
        mask[:, 1 + turns.REGISTERS :] = block_mask.flatten(1)
        with torch.no_grad():
            taught = self.teacher.backbone.encode(large)
            teacher_class = self.teacher.class_head(taught[:, 0])
            teacher_patches = self.teacher.patch_head(taught[mask])
        seen = self.student.backbone.encode(large, mask=mask)
        class_logits = self.student.class_head(seen[:, 0])
        patch_logits = self.student.patch_head(seen[mask])
        local_logits = self.student.class_head(self.student.backbone.encode(small)[:, 0])
        crops = 2 + len(local_crops)
        dino = self._dino(
            teacher_out=list(teacher_class.chunk(2)),
            student_out=list(torch.cat([class_logits, local_logits]).chunk(crops)),
            teacher_temp=turns.TEMPERATURE,
        )
        ibot = self._ibot(
            teacher_out=teacher_patches, student_out=patch_logits, mask=block_mask, teacher_temp=turns.TEMPERATURE
        )
        return dino + ibot + turns.KOLEO * sum(self._koleo(part) for part in seen[:, 0].chunk(2))


def _standardised(pixels: Tensor) -> Tensor:
    """Zero mean and unit variance per crop, with a channel."""
    grey = pixels.float()
    mean, deviation = grey.mean(dim=(-2, -1), keepdim=True), grey.std(dim=(-2, -1), keepdim=True, unbiased=False)
    return ((grey - mean) / deviation.clamp_min(1.0)).unsqueeze(-3)


def build(choices: argparse.Namespace, size: Size, crops: Crops) -> LightlySide:
    """The side that the command line asks for."""
    return LightlySide(size, choices.precision, crops)


if __name__ == "__main__":
    main((__doc__ or "").splitlines()[0], build)
