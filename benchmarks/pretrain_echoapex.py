"""The side of EchoApex in ``pretrain_step.py``: the step of ``echoapex pretrain`` on crops that were drawn beforehand.

With ``--plain`` the loss is written as the papers write it, over all tokens and whole matrices: what the fast step has
to agree with.
"""

from __future__ import annotations

import argparse

import pretrain_turns as turns
import torch
from pretrain_turns import Crops, Size, main
from torch import Tensor

from echoapex.data.batch import CropBatch
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.losses.self_distillation import koleo_loss
from echoapex.models.decoders.projection_head import ProjectionHeadConfig
from echoapex.models.encoder import EncoderConfig, standardise
from echoapex.models.precision import Precision, choose_precision
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.tasks.pretrain import Pretrain, PretrainSchedule, PretrainWeights
from echoapex.tasks.task import Loss
from echoapex.train.distributed import Processes
from echoapex.train.optim import GradientRules, Gradients, OptimConfig, build_optimizer


class PlainPretrain(Pretrain):
    """The same losses by their formulas, with no care for time and memory."""

    def loss(self, batch: CropBatch) -> Loss:
        """DINO, iBOT and KoLeo."""
        frames, masked = batch.global_crops.shape[1], batch.masked.flatten(0, 1)
        large, small = standardise(batch.global_crops.flatten(0, 1)), standardise(batch.local_crops.flatten(0, 1))
        with torch.no_grad():
            taught = self.teacher.encoder(large)
            class_targets = plain_sinkhorn(self.teacher.class_head(taught.class_token)).reshape(2, frames, -1)
            patch_targets = plain_sinkhorn(self.teacher.patch_head(taught.patches[masked]))
        seen = self.student.encoder(large, masked)
        tokens = torch.cat((seen.class_token, self.student.encoder(small).class_token))
        scores = _log_probabilities(self.student.class_head(tokens)).reshape(-1, frames, turns.PROTOTYPES)
        pairs = [-(class_targets[t] * scores[s]).sum(-1).mean() for t in range(2) for s in range(len(scores)) if s != t]
        patches = _log_probabilities(self.student.patch_head(seen.patches[masked]))
        weights = (1 / masked.sum(dim=1).clamp_min(1))[:, None].expand_as(masked)[masked] / len(masked)
        ibot = -((patch_targets * patches).sum(-1) * weights).sum()
        koleo = torch.stack([koleo_loss(part) for part in seen.class_token.chunk(2)]).mean()
        return Loss.sum_of(
            [("dino", 1.0, torch.stack(pairs).mean()), ("ibot", 1.0, ibot), ("koleo", 2 * turns.KOLEO, koleo)]
        )


def plain_sinkhorn(logits: Tensor) -> Tensor:
    """Columns and rows normalised in turn, three times."""
    plan = torch.exp((logits.float() - logits.max().float()) / turns.TEMPERATURE)
    for _ in range(3):
        plan = plan / plan.sum(dim=0) / plan.shape[1]
        plan = plan / plan.sum(dim=1, keepdim=True) / plan.shape[0]
    return plan * plan.shape[0]


def _log_probabilities(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.float() / turns.STUDENT_TEMPERATURE, dim=-1)


class EchoApexSide:
    """Task, optimiser and loop of EchoApex."""

    def __init__(self, size: Size, precision: Precision, crops: Crops, *, plain: bool = False) -> None:
        self._crops = crops
        self.task = build_task(size).train()
        if plain:
            self.task.__class__ = PlainPretrain
        optim = OptimConfig(
            lr=turns.LEARNING_RATE, weight_decay=turns.WEIGHT_DECAY, betas=turns.BETAS, clip_norm=turns.CLIP_NORM
        )
        self._optimizer = build_optimizer(self.task, optim)
        rules = GradientRules(1, choose_precision(precision), optim.clip_norm)
        self._gradients = Gradients(self.task, self._optimizer, rules, Processes())

    def step(self, number: int) -> float:
        """One update of student and teacher."""
        torch.manual_seed(number)
        large, small, masked = self._crops.batch(number)
        batch = CropBatch(large, small, masked, torch.arange(large.shape[1]))
        loss, _ = self._gradients.compute(batch)
        self._optimizer.step()
        self.task.after_step(number)
        return float(loss.total.detach())


def build_task(size: Size) -> Pretrain:
    """Student and teacher with the heads of DINOv2."""
    head = ProjectionHeadConfig(hidden=turns.HIDDEN, bottleneck=turns.BOTTLENECK, prototypes=turns.PROTOTYPES)
    encoder = EncoderConfig.model_validate(
        {"size": size.encoder, "patch_size": turns.PATCH, "registers": turns.REGISTERS, "image_size": size.global_side,
         "drop_path": turns.DROP_PATH, "layer_scale": 1e-5}
    )  # fmt: skip
    return PretrainRecipe(
        encoder=encoder,
        class_head=head,
        patch_head=head,
        weights=PretrainWeights(koleo=2 * turns.KOLEO),
        schedule=PretrainSchedule(steps=1_000_000, momentum=turns.MOMENTUM, final_temperature=turns.TEMPERATURE),
        archives=("none",),
        validation=PhantomStoreConfig(patients=1),
    ).build_task()


def build(choices: argparse.Namespace, size: Size, crops: Crops) -> EchoApexSide:
    """The side that the command line asks for."""
    return EchoApexSide(size, choices.precision, crops, plain=choices.plain)


if __name__ == "__main__":
    main((__doc__ or "").splitlines()[0], build, "--plain")
