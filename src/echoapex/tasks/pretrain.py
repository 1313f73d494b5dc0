"""Pretraining: from crops, a student learns to predict what its teacher, its own moving average, says of global crops.

The file reads in the order of a run: schedules of the teacher (momentum, temperature, frozen prototypes), scores that
tell whether the features stay healthy (effective rank, entropies, view probes), then the task itself.

Sources: Caron et al., "Emerging properties in self-supervised vision transformers" (DINO), 2021; Zhou et al., "iBOT",
2022; Oquab et al., "DINOv2", 2023.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Self

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from echoapex.config import Config
from echoapex.data.batch import CropBatch, ProbeBatch
from echoapex.losses.self_distillation import dino_loss, ibot_loss, koleo_loss, sinkhorn_assignments
from echoapex.models.adapters import Adapter, freeze
from echoapex.models.decoders.projection_head import ProjectionHead
from echoapex.models.encoder import VisionTransformer, standardise
from echoapex.tasks.task import Cases, LayerDecay, Loss, ParameterGroup, Task, is_matrix, layer_decay_groups

_VOTE_TEMPERATURE = 0.07
_STUDENT_TEMPERATURE = 0.1


class PretrainSchedule(Config):
    """Schedules of DINO and DINOv2, counted in updates."""

    steps: int | None = Field(default=None, ge=1)
    """Updates until the teacher's momentum reaches its final value; None: all updates of the run (``train.steps``)."""
    momentum: float = Field(default=0.992, ge=0, le=1)
    """Weight of the old teacher in the new one, at the start; higher for small batches."""
    final_momentum: float = Field(default=1.0, ge=0, le=1)
    temperature: float = Field(default=0.04, gt=0)
    """Temperature of the teacher at the start."""
    final_temperature: float = Field(default=0.07, gt=0)
    temperature_steps: int = Field(default=0, ge=0)
    """Updates over which the temperature rises linearly."""
    frozen_prototype_steps: int = Field(default=0, ge=0)
    """First updates, during which the prototypes are frozen and only the features adapt to them."""

    def momentum_at(self, step: int) -> float:
        """The momentum after update ``step``, along half a cosine.

        >>> schedule = PretrainSchedule(steps=11, momentum=0.9)
        >>> [round(schedule.momentum_at(step), 3) for step in (0, 5, 10, 20)]
        [0.9, 0.95, 1.0, 1.0]

        Raises:
            ValueError: the number of updates is not known.
        """
        if self.steps is None:
            raise ValueError("the length of the schedule is not known; set schedule.steps")
        progress = min(1.0, step / max(1, self.steps - 1))
        return self.final_momentum - (self.final_momentum - self.momentum) * 0.5 * (1 + math.cos(math.pi * progress))

    def temperature_at(self, step: int) -> float:
        """The teacher's temperature at update ``step``.

        >>> schedule = PretrainSchedule(steps=100, temperature_steps=30)
        >>> [round(schedule.temperature_at(step), 3) for step in (0, 10, 30, 99)]
        [0.04, 0.05, 0.07, 0.07]
        """
        progress = min(1.0, step / self.temperature_steps) if self.temperature_steps else 1.0
        return self.temperature + (self.final_temperature - self.temperature) * progress


def effective_rank(features: Float[Tensor, "samples width"]) -> float:
    """Number of directions over which the features spread: the exponential of the entropy of their singular values.

    From 1 (all on one line) to the smaller of width and number of samples minus one. The mean is subtracted first, so
    identical features have rank 0.

    Sources: Roy and Vetterli, "The effective rank", 2007; Garrido et al., "RankMe", 2023.
    """
    centred = features.double() - features.double().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    total = float(values.sum())
    if total <= 1e-9 * max(1.0, float(features.abs().max())) * values.numel():
        return 0.0
    shares = values / total
    return float(torch.exp(torch.special.entr(shares).sum()))


def prototype_entropies(assignments: Float[Tensor, "samples prototypes"]) -> tuple[float, float]:
    """Entropy of the mean assignment, and mean entropy of the assignments; both relative to the maximum, 0 to 1.

    The first falls to 0 when all samples go to one prototype. The second rises to 1 when all assignments are uniform.
    These are the two ways in which self-distillation collapses (Caron et al., "DINO", 2021, section 5.3).
    """
    even = torch.log(torch.tensor(float(assignments.shape[1])))
    of_mean = torch.special.entr(assignments.mean(dim=0)).sum() / even
    mean_of = torch.special.entr(assignments).sum(dim=1).mean() / even
    return float(of_mean), float(mean_of)


def nearest_view_accuracy(
    features: Float[Tensor, "samples width"],
    view: Int[Tensor, "samples"],
    clip: Int[Tensor, "samples"],
    neighbours: int = 10,
) -> float | None:
    """Accuracy of a nearest-neighbour vote on the view, among the frames of other clips, weighted by cosine.

    Source: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", 2018, section 3.4
    (weighted votes at a temperature of 0.07).

    Args:
        features: of whole frames.
        view: true view; frames with a negative one are left out.
        clip: frames of the same clip do not vote for each other.
        neighbours: how many vote.

    Returns:
        Accuracy over the frames with a known view, or ``None`` if they come from fewer than two clips.
    """
    known = view >= 0
    view, clip = view[known], clip[known]
    if bool((clip == clip[:1]).all()):
        return None
    directions = functional.normalize(features[known].float(), dim=-1)
    cosines = (directions @ directions.T).masked_fill(clip[:, None] == clip[None], -torch.inf)
    nearest, index = cosines.topk(min(neighbours, len(view) - 1), dim=1)
    votes = torch.zeros(len(view), int(view.max()) + 1, device=features.device)
    votes.scatter_add_(1, view[index], torch.exp((nearest - nearest[:, :1]) / _VOTE_TEMPERATURE))
    return float((votes.argmax(dim=1) == view).float().mean())


def linear_view_accuracy(
    features: Float[Tensor, "samples width"],
    view: Int[Tensor, "samples"],
    clip: Int[Tensor, "samples"],
    ridge: float = 0.1,
) -> float | None:
    """Accuracy of a linear view classifier, fitted by least squares on half of the clips and tested on the other half.

    Each half is fitted once and tested once. Features are standardised by mean and deviation of the fitted half;
    ``ridge`` is the penalty divided by their number.

    Source: Hoerl and Kennard, "Ridge regression", 1970; one-hot targets as in Rifkin et al., "Regularized least-squares
    classification", 2003.

    Args:
        features: of whole frames.
        view: true view; frames with a negative one are left out.
        clip: frames of the same clip are in the same half.
        ridge: strength of the penalty.

    Returns:
        Accuracy over the frames with a known view, or ``None`` if no view has two clips.
    """
    known = view >= 0
    features, view, clip = features[known].double(), view[known], clip[known]
    half_of = _halves(view, clip)
    if int(half_of.sum()) in (0, len(view)):
        return None
    targets = functional.one_hot(view).double()
    hits = 0
    for half in (0, 1):
        fitted, judged = half_of == half, half_of != half
        mean, deviation = features[fitted].mean(dim=0), features[fitted].std(dim=0, unbiased=False).clamp_min(1e-6)
        rows, centre = (features[fitted] - mean) / deviation, targets[fitted].mean(dim=0)
        normal = rows.T @ rows + ridge * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        weights = torch.linalg.solve(normal, rows.T @ (targets[fitted] - centre))
        guessed = ((features[judged] - mean) / deviation @ weights + centre).argmax(dim=1)
        hits += int((guessed == view[judged]).sum())
    return hits / len(view)


def _halves(view: Int[Tensor, "samples"], clip: Int[Tensor, "samples"]) -> Int[Tensor, "samples"]:
    """0 or 1 for each frame, the same for all frames of a clip; the clips of a view alternate."""
    clips, number = torch.unique(clip, return_inverse=True)
    view_of = torch.zeros(len(clips), dtype=view.dtype, device=view.device)
    view_of[number] = view
    half_of = torch.zeros(len(clips), dtype=torch.int64, device=view.device)
    for each in torch.unique(view_of):
        members = torch.nonzero(view_of == each)[:, 0]
        half_of[members] = torch.arange(len(members), device=view.device) % 2
    return half_of[number]


class PretrainWeights(Config):
    """Weights of the losses: those of DINOv2, except KoLeo, which is here the mean over both global crops."""

    dino: float = Field(default=1.0, ge=0)
    ibot: float = Field(default=1.0, ge=0)
    koleo: float = Field(default=0.2, ge=0)


class PretrainNetwork(nn.Module):
    """An encoder with a head for its class token and one for its patch tokens.

    With an ``adapter`` (LoRA) the encoder itself stays frozen; ``attach`` attaches the adapter.
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
    """Student and teacher; only the student has gradients, the teacher is its moving average.

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
        # attach after the copy: a copied attached adapter would still act on the first encoder
        for network in (self.student, self.teacher):
            network.attach()
        self.schedule = schedule
        self.weights = weights
        self.layer_decay = layer_decay or LayerDecay()
        self.head_warmup = head_warmup
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the student; the teacher always stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def parameter_groups(self) -> list[ParameterGroup]:
        """The student's encoder by depth, and its heads; gradients are clipped per network, as in DINOv2."""
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
        """Blocks, encoders and heads of student and teacher; none with an adapter, which is too small to shard."""
        if self.student.adapter is not None:
            return []
        units: list[nn.Module] = []
        for network in (self.student, self.teacher):
            units += [*network.encoder.blocks, network.encoder, network.class_head, network.patch_head]
        return units

    def loss(self, batch: CropBatch) -> Loss:
        """DINO on the class tokens of all crops, iBOT on masked patches, KoLeo on the class tokens of global crops."""
        student, frames = self.student, batch.global_crops.shape[1]
        update = int(self.updates)
        frozen = update < self.schedule.frozen_prototype_steps
        masked = batch.masked.flatten(0, 1)
        large = standardise(batch.global_crops.flatten(0, 1))
        class_targets, patch_targets = self._teach(large, masked, self.schedule.temperature_at(update))
        seen = student.encoder(large, masked, token_subset=masked)
        class_tokens = seen.class_token
        if len(batch.local_crops):
            small = standardise(batch.local_crops.flatten(0, 1))
            none = masked.new_zeros(len(small), math.prod(student.encoder.grid_of(*small.shape[2:])))
            class_tokens = torch.cat((class_tokens, student.encoder(small, token_subset=none).class_token))
        class_logits = _by_crop(student.class_head(class_tokens, frozen), frames)
        patch_logits = student.patch_head(seen.patches[masked], frozen)
        dino = dino_loss(class_logits, _by_crop(class_targets, frames), _STUDENT_TEMPERATURE)
        ibot = ibot_loss(patch_logits, patch_targets, masked, _STUDENT_TEMPERATURE)
        koleo = torch.stack([koleo_loss(tokens) for tokens in _by_crop(seen.class_token, frames)]).mean()
        weights = self.weights
        return Loss.sum_of(
            [("dino", weights.dino, dino), ("ibot", weights.ibot, ibot), ("koleo", weights.koleo, koleo)]
        )

    @torch.no_grad()
    def _teach(self, large: Tensor, masked: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """The teacher's targets for the class tokens, and for the patches that are masked for the student."""
        tokens = self.teacher.encoder(large, token_subset=masked)
        class_targets = sinkhorn_assignments(self.teacher.class_head(tokens.class_token), temperature)
        patch_targets = sinkhorn_assignments(self.teacher.patch_head(tokens.patches[masked]), temperature)
        return class_targets, patch_targets

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        share = 1 - self.schedule.momentum_at(step)
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), share)
        self.updates.fill_(step + 1)

    def trained_encoder(self) -> VisionTransformer:
        """A copy of the teacher's encoder, with the adapter merged into its weights."""
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
        assignments = torch.softmax(self.teacher.class_head(features).float() / temperature, dim=-1)
        return {"features": features, "assignments": assignments, "view": batch.view, "clip": batch.clip}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Health of the teacher's class tokens on whole frames.

        ``effective_rank``; ``prototype_entropy`` (0: all samples go to one prototype) and ``assignment_entropy`` (1:
        all assignments are uniform); ``knn_view_accuracy`` and ``linear_view_accuracy`` if the views of at least two
        clips are known.
        """
        features, view, clip = cases["features"], cases["view"], cases["clip"]
        of_mean, mean_of = prototype_entropies(cases["assignments"])
        figures = {
            "effective_rank": effective_rank(features),
            "prototype_entropy": of_mean,
            "assignment_entropy": mean_of,
        }
        probes = {
            "knn_view_accuracy": nearest_view_accuracy(features, view, clip),
            "linear_view_accuracy": linear_view_accuracy(features, view, clip),
        }
        return figures | {name: accuracy for name, accuracy in probes.items() if accuracy is not None}


def _by_crop(rows: Tensor, frames: int) -> Tensor:
    """Rows ordered by crop, ``(crops * frames, n)``, reshaped to ``(crops, frames, n)``."""
    return rows.reshape(-1, frames, rows.shape[-1])
