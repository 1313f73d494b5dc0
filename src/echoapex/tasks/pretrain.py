"""Pretraining: a student learns to see in any crop what its own average, the teacher, sees in large ones.

Sources: Caron et al., "Emerging properties in self-supervised vision transformers" (DINO), 2021; Zhou et al., "iBOT",
2022; Oquab et al., "DINOv2", 2023.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.data.batch import CropBatch, ProbeBatch, standardise
from echoapex.losses.dino import dino_loss
from echoapex.losses.ibot import ibot_loss
from echoapex.losses.koleo import koleo_loss
from echoapex.losses.sinkhorn import sinkhorn_assignments
from echoapex.models.adapters import Adapter, freeze
from echoapex.models.decoders.projection_head import ProjectionHead
from echoapex.models.encoder import VisionTransformer
from echoapex.tasks.feature_probe import (
    assignment_entropies,
    effective_rank,
    linear_view_accuracy,
    nearest_view_accuracy,
)
from echoapex.tasks.layer_decay import LayerDecay, layer_decay_groups
from echoapex.tasks.pretrain_schedule import PretrainSchedule
from echoapex.tasks.task import Cases, Loss, ParameterGroup, Task, is_matrix

_STUDENT_TEMPERATURE = 0.1


class PretrainWeights(Config):
    """The share of each loss; the values of DINOv2, but for KoLeo, which is here the mean of both global crops."""

    dino: float = Field(default=1.0, ge=0)
    ibot: float = Field(default=1.0, ge=0)
    koleo: float = Field(default=0.2, ge=0)


class PretrainNetwork(nn.Module):
    """An encoder with a head for its class token and one for its patch tokens.

    With an ``adapter`` (LoRA) the encoder itself stays as it is; ``attach`` lets it be adapted.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        class_head: ProjectionHead,
        patch_head: ProjectionHead,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.class_head = class_head
        self.patch_head = patch_head
        self.adapter = adapter

    def attach(self) -> None:
        """Attach the adapter, if there is one, to the frozen encoder."""
        if self.adapter is not None:
            freeze(self.encoder)
            self.adapter.attach(self.encoder)


class Pretrain(Task):
    """Student and teacher; only the student has gradients, the teacher follows it after every update.

    Args:
        student: starts from its present weights, and the teacher from the same.
        schedule: of momentum, temperature and prototypes.
        weights: of the losses.
        layer_decay: learning rates within the encoder; the heads learn at the full rate.
        head_warmup: updates during which the heads learn alone, and the encoder stays as it was given.
    """

    updates: Tensor

    def __init__(
        self,
        student: PretrainNetwork,
        schedule: PretrainSchedule,
        weights: PretrainWeights,
        layer_decay: LayerDecay | None = None,
        head_warmup: int = 0,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        # only now: the copy of an attached adapter would still be attached to the first encoder
        for network in (self.student, self.teacher):
            network.attach()
        self.schedule = schedule
        self.weights = weights
        self.layer_decay = layer_decay or LayerDecay()
        self.head_warmup = head_warmup
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the student; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def parameter_groups(self) -> list[ParameterGroup]:
        """The student's encoder by depth, and its heads; each network is clipped by itself, as in DINOv2."""
        student = self.student
        heads: dict[str, nn.Module] = {"class_head": student.class_head, "patch_head": student.patch_head}
        if student.adapter is not None:
            heads["encoder"] = student.adapter
        encoder = layer_decay_groups(student.encoder, self.layer_decay)
        groups = [replace(group, frozen_updates=self.head_warmup, network="encoder") for group in encoder]
        for network, head in heads.items():
            learning = [p for p in head.parameters() if p.requires_grad]
            plain = [p for p in learning if not is_matrix(p)]
            groups.append(ParameterGroup([p for p in learning if is_matrix(p)], network=network))
            groups.append(ParameterGroup(plain, weight_decay_factor=0.0, network=network))
        return groups

    def sharding_units(self) -> list[nn.Module]:
        """Student and teacher: blocks, encoders, heads; with an adapter there is little to divide."""
        if self.student.adapter is not None:
            return []
        units: list[nn.Module] = []
        for network in (self.student, self.teacher):
            units += [*network.encoder.blocks, network.encoder, network.class_head, network.patch_head]
        return units

    def loss(self, batch: CropBatch) -> Loss:
        """DINO on the class tokens of all crops, iBOT on hidden patches, KoLeo on the class tokens of global crops."""
        student, frames = self.student, batch.global_crops.shape[1]
        update = int(self.updates)
        frozen = update < self.schedule.frozen_prototype_steps
        hidden = batch.hidden.flatten(0, 1)
        large = standardise(batch.global_crops.flatten(0, 1))
        class_shares, patch_shares = self._teach(large, hidden, self.schedule.temperature_at(update))
        seen = student.encoder(large, hidden, read=hidden)
        class_tokens = seen.class_token
        if len(batch.local_crops):
            small = standardise(batch.local_crops.flatten(0, 1))
            none = hidden.new_zeros(len(small), math.prod(student.encoder.grid_of(*small.shape[2:])))
            class_tokens = torch.cat((class_tokens, student.encoder(small, read=none).class_token))
        class_logits = _by_crop(student.class_head(class_tokens, frozen), frames)
        patch_logits = student.patch_head(seen.patches[hidden], frozen)
        dino = dino_loss(class_logits, _by_crop(class_shares, frames), _STUDENT_TEMPERATURE)
        ibot = ibot_loss(patch_logits, patch_shares, hidden, _STUDENT_TEMPERATURE)
        koleo = torch.stack([koleo_loss(tokens) for tokens in _by_crop(seen.class_token, frames)]).mean()
        shares = self.weights
        return Loss.sum_of([("dino", shares.dino, dino), ("ibot", shares.ibot, ibot), ("koleo", shares.koleo, koleo)])

    @torch.no_grad()
    def _teach(self, large: Tensor, hidden: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """The teacher's assignments of the class tokens, and of the patches that are hidden from the student."""
        tokens = self.teacher.encoder(large, read=hidden)
        class_shares = sinkhorn_assignments(self.teacher.class_head(tokens.class_token), temperature)
        patch_shares = sinkhorn_assignments(self.teacher.patch_head(tokens.patches[hidden]), temperature)
        return class_shares, patch_shares

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        share = 1 - self.schedule.momentum_at(step)
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), share)
        self.updates.fill_(step + 1)

    def trained_encoder(self) -> VisionTransformer:
        """The teacher's encoder by itself: what an adapter has learned is merged into its weights."""
        network = copy.deepcopy(self.teacher)
        if network.adapter is not None:
            for module in network.encoder.modules():
                module._forward_hooks.clear()
            network.adapter.merge_into(network.encoder)
        return network.encoder

    @torch.no_grad()
    def cases(self, batch: ProbeBatch) -> Cases:
        """The teacher's class tokens of whole frames, their assignments to prototypes, and views and clips."""
        features = self.teacher.encoder(standardise(batch.pixels)).class_token
        temperature = self.schedule.temperature_at(int(self.updates))
        shares = torch.softmax(self.teacher.class_head(features).float() / temperature, dim=-1)
        return {"features": features, "shares": shares, "view": batch.view, "clip": batch.clip}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Health of the teacher's class tokens on whole frames.

        ``effective_rank`` in directions; ``prototype_entropy`` (0: one prototype takes all) and ``assignment_entropy``
        (1: nothing is told apart) of its assignments; ``knn_view_accuracy`` and ``linear_view_accuracy`` where at least
        two clips' views are known.
        """
        features, view, clip = cases["features"], cases["view"], cases["clip"]
        prototypes, assignments = assignment_entropies(cases["shares"])
        figures = {
            "effective_rank": effective_rank(features),
            "prototype_entropy": prototypes,
            "assignment_entropy": assignments,
        }
        probes = {
            "knn_view_accuracy": nearest_view_accuracy(features, view, clip),
            "linear_view_accuracy": linear_view_accuracy(features, view, clip),
        }
        return figures | {name: accuracy for name, accuracy in probes.items() if accuracy is not None}


def _by_crop(rows: Tensor, frames: int) -> Tensor:
    """Rows that lie crop after crop, ``(crops * frames, n)``, as ``(crops, frames, n)``."""
    return rows.reshape(-1, frames, rows.shape[-1])
