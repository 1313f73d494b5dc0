"""Application 1: which of the 18 views a clip shows.

Views from outlines: the automatic segmentation looks first, and a small decoder reads what it found where.

A view is defined by the chambers that it cuts, so this is a second witness beside the pooled tokens, and one that knows
nothing of grey values.

What a set may have learned of pictures that are no echocardiogram: one score on the class tokens of a clip.

The bundle of view classification may carry it: its card says under ``architecture.not_echo`` how the score is made, and
its weights hold the numbers. The score grows with doubt; from ``threshold`` on the clip is set aside. A set without it
is read as before.

``mahalanobis``: the squared distance of the clip's mean class token from the mean of echocardiograms, in units of their
covariance, over the length of the token (Lee et al., "A simple unified framework for detecting out-of-distribution
samples", 2018). ``linear``: the log odds of a linear classifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.distributions import Beta

from echoapex.config import Config
from echoapex.data.batch import FrameBatch
from echoapex.domain import ViewPrediction
from echoapex.losses.supervised import smoothed_cross_entropy
from echoapex.models.decoders.linear import LinearViewDecoder, ViewFromMasksDecoder, pool_frame
from echoapex.models.decoders.prompt_encoder import PromptBatch
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.models.encoder import Tokens, VisionTransformer, standardise
from echoapex.tasks.task import Cases, EncodedClip, Loss, Task
from echoapex.vocabulary import Structure, View

OUTLINED_FRAMES = 8
"""Most frames of a clip whose outlines are drawn to find its view."""

_MASK_BRANCH_PREFIX = "outlines."
"""How the weights of the outline decoder begin in a bundle of view classification."""

Logits = Float[Tensor, "batch views"]


class OutlineMaps(NamedTuple):
    """What the automatic segmentation says of some frames.

    Attributes:
        maps: probability of each structure in every cell.
        overlap: of each mask with the truth, as predicted (IoU).
    """

    maps: Float[Tensor, "batch structures side side"]
    overlap: Float[Tensor, "batch structures"]


def draw_mask_maps(
    segmenter: PromptableDecoder, tokens: Sequence[Tokens], images: Float[Tensor, "batch 1 size size"], side: int
) -> OutlineMaps:
    """The maps of all structures, each asked for by its name.

    Args:
        segmenter: the decoder of the segmentation.
        tokens: at the depths that it reads.
        images: standardised.
        side: cells per side of the maps.
    """
    names = PromptBatch.of_structures(tuple(Structure), len(images), images.device)
    prediction = segmenter(segmenter.embed(tokens, images), names, joint=True)
    probabilities = prediction.logits.float().sigmoid()
    return OutlineMaps(nn.functional.adaptive_avg_pool2d(probabilities, side), prediction.iou.float())


class ViewFromMasks(nn.Module):
    """The second witness of a view classification.

    Args:
        segmenter: the segmentation that the decoder was taught with; it reads the tokens that the views read.
        decoder: outlines to views.
    """

    def __init__(self, segmenter: PromptableDecoder, decoder: ViewFromMasksDecoder) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.decoder = decoder

    def forward(self, tokens: Sequence[Tokens], images: Float[Tensor, "batch 1 size size"]) -> Logits:
        """Logits of the views of single frames."""
        logits: Tensor = self.decoder(*draw_mask_maps(self.segmenter, tokens, images, self.decoder.config.side))
        return logits


def product_of_experts(appearance: Logits, outlines: Logits) -> Logits:
    """Logits of both witnesses together: the sum of their log probabilities, as if neither knew of the other.

    Source: the product of experts of Hinton, "Training products of experts by minimizing contrastive divergence", 2002.
    """
    return appearance.log_softmax(dim=-1) + outlines.log_softmax(dim=-1)


def spread_rows(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` frames: the middle ones of equal stretches.

    >>> spread_rows(3, 8), spread_rows(10, 4)
    ([0, 1, 2], [1, 3, 6, 8])
    """
    taken = min(count, most)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def join_view_branches(appearance: Mapping[str, Tensor], outlines: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of both witnesses as one bundle of view classification holds them."""
    return {**appearance, **{f"{_MASK_BRANCH_PREFIX}{name}": value for name, value in outlines.items()}}


def split_view_branches(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder of pooled tokens, and those of the outline decoder, if there are any."""
    appearance = {name: value for name, value in state.items() if not name.startswith(_MASK_BRANCH_PREFIX)}
    outlines = {
        name.removeprefix(_MASK_BRANCH_PREFIX): value
        for name, value in state.items()
        if name.startswith(_MASK_BRANCH_PREFIX)
    }
    return appearance, outlines


NOT_ECHO = "not_echo"
_NOT_ECHO_PREFIX = f"{NOT_ECHO}."


class NotEchoConfig(Config):
    """How the score is made of class tokens of ``width`` numbers, and the score from which a clip is set aside."""

    kind: Literal["mahalanobis", "linear"]
    width: int = Field(ge=1)
    threshold: float


class NotEchoHead(nn.Module):
    """The score of a clip.

    Args:
        config: kind, width and threshold.
    """

    def __init__(self, config: NotEchoConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "mahalanobis":
            self.mean = nn.Parameter(torch.zeros(config.width))
            self.whitening = nn.Parameter(torch.eye(config.width))
        else:
            self.weight = nn.Parameter(torch.zeros(config.width))
            self.bias = nn.Parameter(torch.zeros(()))

    @classmethod
    def fit_mahalanobis(
        cls, tokens: Float[Tensor, "clips width"], quantile: float = 0.99, shrinkage: float = 0.05
    ) -> NotEchoHead:
        """The head of echocardiograms: mean, covariance drawn a little towards a sphere, and a quantile as threshold.

        Args:
            tokens: the mean class token of each clip.
            quantile: share of these clips that stay below the threshold.
            shrinkage: weight of the sphere of the same total variance.

        Raises:
            ValueError: there are fewer than two clips.
        """
        if len(tokens) < 2:
            raise ValueError(f"a covariance of {len(tokens)} clip; give two or more")
        values = tokens.double()
        mean = values.mean(dim=0)
        covariance = torch.cov(values.T).reshape(values.shape[1], values.shape[1])
        sphere = covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(len(covariance), dtype=torch.float64)
        inverse = torch.linalg.inv((1 - shrinkage) * covariance + shrinkage * sphere)
        head = cls(NotEchoConfig(kind="mahalanobis", width=values.shape[1], threshold=0.0))
        with torch.no_grad():
            head.mean.copy_(mean)
            head.whitening.copy_(torch.linalg.cholesky(inverse))
            threshold = float(head(tokens).double().quantile(quantile))
        head.config = head.config.model_copy(update={"threshold": threshold})
        return head

    def forward(self, tokens: Float[Tensor, "clips width"]) -> Float[Tensor, "clips"]:
        """The score of each clip, from its mean class token."""
        if self.config.kind == "linear":
            return tokens @ self.weight + self.bias
        return ((tokens - self.mean) @ self.whitening).square().mean(dim=-1)

    @torch.inference_mode()
    def doubts(self, class_tokens: Float[Tensor, "frames width"]) -> bool:
        """Whether a clip with these class tokens is no echocardiogram."""
        return bool(self(class_tokens.float().mean(dim=0, keepdim=True))[0] >= self.config.threshold)


def split_not_echo(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the view decoders, and those of this head, if there are any."""
    views = {name: value for name, value in state.items() if not name.startswith(_NOT_ECHO_PREFIX)}
    head = {
        name.removeprefix(_NOT_ECHO_PREFIX): value for name, value in state.items() if name.startswith(_NOT_ECHO_PREFIX)
    }
    return views, head


def join_not_echo(views: Mapping[str, Tensor], head: NotEchoHead) -> dict[str, Tensor]:
    """The weights of a bundle that carries both."""
    return {**views, **{f"{_NOT_ECHO_PREFIX}{name}": value for name, value in head.state_dict().items()}}


class ViewLossConfig(Config):
    """What keeps the decoder from being too sure of the views it is taught."""

    smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target that is spread_rows over all views."""
    mixup: float = Field(default=0.0, ge=0)
    """Both parameters of the beta distribution from which the weight of a frame in a mixture of two is drawn; 0: none.

    Mixed are pooled tokens, not pixels, so that other tasks can learn from the same frames.
    Source: Verma et al., "Manifold mixup", 2019.
    """


class ViewClassification(Task):
    """A linear decoder over the pooled tokens of the frames of a clip.

    Args:
        encoder: makes the tokens.
        decoder: pooled tokens to views.
        blocks: the depths that are read, the last for the pooled tokens.
        temperature: divides the logits, so that probabilities are honest.
        config: of the loss.
        outlines: a second witness of whole clips, taught separately; both then count alike.

    Attributes:
        not_echo: what was learned of pictures that are no echocardiogram, where anything was.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: LinearViewDecoder,
        blocks: Sequence[int],
        temperature: float = 1.0,
        config: ViewLossConfig | None = None,
        outlines: ViewFromMasks | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.blocks = tuple(blocks)
        self.temperature = temperature
        self.config = config or ViewLossConfig()
        self.outlines = outlines
        self.not_echo: NotEchoHead | None = None

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, without an adapter."""
        return self.encoder, None

    def loss(self, batch: FrameBatch) -> Loss:
        """Cross-entropy of single frames, label-smoothed and mixed as configured."""
        return self.loss_from_tokens(self.encoder.forward_blocks(standardise(batch.pixels), self.blocks), batch)

    def loss_from_tokens(self, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """The same, given the encoded frames."""
        known = batch.view >= 0
        pooled, views, smoothing = pool_frame(tokens[-1])[known], batch.view[known], self.config.smoothing
        if not self.config.mixup or not len(views):
            cross_entropy = smoothed_cross_entropy(self._logits(pooled), views, smoothing)
            return Loss.sum_of([("view", 1.0, cross_entropy)])
        weight = Beta(self.config.mixup, self.config.mixup).sample().item()
        partner = torch.randperm(len(views), device=views.device)
        logits = self._logits(weight * pooled + (1 - weight) * pooled[partner])
        own = smoothed_cross_entropy(logits, views, smoothing)
        other = smoothed_cross_entropy(logits, views[partner], smoothing)
        return Loss.sum_of([("view", 1.0, weight * own + (1 - weight) * other)])

    def _frame_logits(self, tokens: Tokens) -> Float[Tensor, "batch views"]:
        return self._logits(pool_frame(tokens))

    def _logits(self, pooled: Float[Tensor, "batch features"]) -> Float[Tensor, "batch views"]:
        logits: Float[Tensor, "batch views"] = self.decoder(pooled[:, None], None)
        return logits

    @torch.no_grad()
    def cases(self, batch: FrameBatch) -> Cases:
        """Logits and true view of the frames whose view is known."""
        return self.cases_from_tokens(self.encoder.forward_blocks(standardise(batch.pixels), self.blocks), batch)

    def cases_from_tokens(self, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """The same, given the encoded frames."""
        known = batch.view >= 0
        return {"view_logits": self._frame_logits(tokens[-1])[known].float(), "view_truth": batch.view[known]}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Accuracy of single frames, and the one temperature that makes the probabilities of all of them honest."""
        logits, truth = cases["view_logits"], cases["view_truth"]
        if not len(truth):
            return {}
        return {
            "view_frame_accuracy": (logits.argmax(dim=1) == truth).float().mean().item(),
            "view_temperature": fit_temperature(logits, truth),
        }

    @torch.inference_mode()
    def frame_probabilities(self, tokens: Sequence[Tokens]) -> Float[Tensor, "batch views"]:
        """Calibrated probabilities of single frames, by their pooled tokens alone, in the order of ``View``."""
        return nn.functional.softmax(self._frame_logits(tokens[-1]).double() / self.temperature, dim=1)

    @torch.inference_mode()
    def predict(self, encoded: EncodedClip) -> ViewPrediction:
        """The view of a whole clip, with calibrated probabilities (temperature of the card)."""
        last = encoded.tokens[-1]
        pooled = pool_frame(Tokens(last.class_token.float(), last.registers.float(), last.patches.float(), last.grid))
        logits = self.decoder(pooled[None], None)[0].double()
        if self.outlines is not None:
            images, tokens = encoded.select(spread_rows(encoded.frame_count, OUTLINED_FRAMES))
            logits = product_of_experts(logits, self.outlines(tokens, images).double().log_softmax(dim=1).mean(dim=0))
        probabilities = nn.functional.softmax(logits / self.temperature, dim=0).tolist()
        return ViewPrediction(dict(zip(View, probabilities, strict=True)))

    def doubts_echo(self, encoded: EncodedClip) -> bool:
        """Whether the clip is no echocardiogram by what was learned; never, where nothing was."""
        return self.not_echo is not None and self.not_echo.doubts(encoded.tokens[-1].class_token)


def fit_temperature(logits: Float[Tensor, "cases classes"], labels: Int[Tensor, "cases"]) -> float:
    """What logits must be divided by so that the true classes are most probable: above 1 where they are too sure.

    Between 0.2 and 5, for cases that are all right say nothing about how sure one may be.

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2.
    """
    scores, truth = logits.detach().double().cpu(), labels.long().cpu()

    def surprise(log_temperature: float) -> float:
        return float(nn.functional.cross_entropy(scores / math.exp(log_temperature), truth))

    found = minimize_scalar(surprise, bounds=(math.log(0.2), math.log(5.0)), method="bounded")
    return math.exp(float(found.x))
