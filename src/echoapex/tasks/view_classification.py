"""Application 1: which of the 18 views a clip shows.

Two branches give logits for a view:

* a linear decoder over the pooled tokens of the frames;
* optionally, a small decoder of the mask maps of the automatic segmentation (``ViewFromMasks``). A view is defined by
  the chambers that it cuts, and this branch does not depend on grey values.

Both are combined as a product of experts and calibrated by a temperature.

A bundle may also carry a head that recognises pictures that are no echocardiogram. Its card says under
``architecture.not_echo`` how the score is computed, and its weights hold the parameters. The score of a clip is
computed from its class tokens and grows with doubt; from ``threshold`` on the clip is set aside. There are two kinds:

``mahalanobis``
    the squared Mahalanobis distance of the clip's mean class token from the mean of echocardiograms, divided by the
    width of the token (Lee et al., "A simple unified framework for detecting out-of-distribution samples", 2018).
``linear``
    the log odds of a linear classifier.
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
from echoapex.models.encoder import EncodedClip, Tokens, VisionTransformer
from echoapex.tasks.task import Cases, FrameTask, Loss
from echoapex.vocabulary import Structure, View

MASK_BRANCH_FRAMES = 8
"""Largest number of frames of a clip from which the branch of masks reads the view."""
_MASK_BRANCH_PREFIX = "outlines."
"""Prefix of the names of the mask decoder's weights in a bundle of view classification."""
NOT_ECHO = "not_echo"
_NOT_ECHO_PREFIX = f"{NOT_ECHO}."
Logits = Float[Tensor, "batch views"]


class MaskMaps(NamedTuple):
    """Output of the automatic segmentation for some frames, at low resolution.

    Attributes:
        maps: probability of each structure in every cell.
        overlap: predicted IoU of each mask with the truth.
    """

    maps: Float[Tensor, "batch structures side side"]
    overlap: Float[Tensor, "batch structures"]


def draw_mask_maps(
    segmenter: PromptableDecoder, tokens: Sequence[Tokens], images: Float[Tensor, "batch 1 size size"], side: int
) -> MaskMaps:
    """The mask maps of all structures, each prompted by its name.

    Args:
        segmenter: the decoder of the segmentation.
        tokens: encoder outputs at the depths that the segmentation reads.
        images: standardised.
        side: cells per side of the maps.
    """
    names = PromptBatch.of_structures(tuple(Structure), len(images), images.device)
    prediction = segmenter(segmenter.embed(tokens, images), names, joint=True)
    probabilities = prediction.logits.float().sigmoid()
    return MaskMaps(nn.functional.adaptive_avg_pool2d(probabilities, side), prediction.iou.float())


class ViewFromMasks(nn.Module):
    """The branch that reads the view from mask maps.

    Args:
        segmenter: the segmentation on which the decoder was trained; it reads the same tokens as the view decoder.
        decoder: mask maps to views.
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
    """Logits of both branches combined: the sum of their log probabilities, as for independent experts.

    Source: the product of experts of Hinton, "Training products of experts by minimizing contrastive divergence", 2002.
    """
    return appearance.log_softmax(dim=-1) + outlines.log_softmax(dim=-1)


def spread_rows(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` frames, evenly spread: the middle frames of equal stretches.

    >>> spread_rows(3, 8), spread_rows(10, 4)
    ([0, 1, 2], [1, 3, 6, 8])
    """
    taken = min(count, most)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def join_view_branches(appearance: Mapping[str, Tensor], outlines: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of both branches under the names that a bundle of view classification uses."""
    return {**appearance, **{f"{_MASK_BRANCH_PREFIX}{name}": value for name, value in outlines.items()}}


def split_view_branches(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder of pooled tokens, and those of the mask decoder (empty if there is none)."""
    appearance = {name: value for name, value in state.items() if not name.startswith(_MASK_BRANCH_PREFIX)}
    outlines = {
        name.removeprefix(_MASK_BRANCH_PREFIX): value
        for name, value in state.items()
        if name.startswith(_MASK_BRANCH_PREFIX)
    }
    return appearance, outlines


class NotEchoConfig(Config):
    """Kind of the score, width of the class tokens, and the score from which a clip is set aside."""

    kind: Literal["mahalanobis", "linear"]
    width: int = Field(ge=1)
    threshold: float


class NotEchoHead(nn.Module):
    """Scores how unlike an echocardiogram a clip is.

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
        """Fit mean and shrunk covariance to echocardiograms; the threshold is a quantile of their scores.

        Args:
            tokens: the mean class token of each clip.
            quantile: share of these clips that stay below the threshold.
            shrinkage: weight of the isotropic covariance of the same total variance.

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
    """The weights of the view decoders, and those of this head (empty if there is none)."""
    views = {name: value for name, value in state.items() if not name.startswith(_NOT_ECHO_PREFIX)}
    head = {
        name.removeprefix(_NOT_ECHO_PREFIX): value for name, value in state.items() if name.startswith(_NOT_ECHO_PREFIX)
    }
    return views, head


def join_not_echo(views: Mapping[str, Tensor], head: NotEchoHead) -> dict[str, Tensor]:
    """The weights of the view decoders and of this head under the names that a bundle uses."""
    return {**views, **{f"{_NOT_ECHO_PREFIX}{name}": value for name, value in head.state_dict().items()}}


class ViewLossConfig(Config):
    """Regularisation against overconfident views: label smoothing and mixup."""

    smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target that is spread evenly over all views."""
    mixup: float = Field(default=0.0, ge=0)
    """Both parameters of the beta distribution that gives the weight of a frame in a mixture of two; 0: no mixing.

    Pooled tokens are mixed, not pixels, so that other tasks can learn from the same frames.
    Source: Verma et al., "Manifold mixup", 2019.
    """


class ViewClassification(FrameTask):
    """A linear decoder over the pooled tokens of the frames of a clip, optionally with a branch of masks.

    Args:
        encoder: computes the tokens.
        decoder: pooled tokens to views.
        blocks: the encoder depths that are used; the last one gives the pooled tokens.
        temperature: divides the logits, so that the probabilities are calibrated.
        config: of the loss.
        mask_branch: second branch for whole clips, trained separately; both branches have the same weight.

    Attributes:
        not_echo: head that recognises pictures that are no echocardiogram, or None.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: LinearViewDecoder,
        blocks: Sequence[int],
        temperature: float = 1.0,
        config: ViewLossConfig | None = None,
        mask_branch: ViewFromMasks | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.blocks = tuple(blocks)
        self.temperature = temperature
        self.config = config or ViewLossConfig()
        self.mask_branch = mask_branch
        self.not_echo: NotEchoHead | None = None

    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """Cross-entropy of single frames, with label smoothing and mixup as configured."""
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

    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """Logits and true view of the frames whose view is known."""
        known = batch.view >= 0
        return {"view_logits": self._frame_logits(tokens[-1])[known].float(), "view_truth": batch.view[known]}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Accuracy of single frames, and the temperature that calibrates their probabilities."""
        logits, truth = cases["view_logits"], cases["view_truth"]
        if not len(truth):
            return {}
        return {
            "view_frame_accuracy": (logits.argmax(dim=1) == truth).float().mean().item(),
            "view_temperature": fit_temperature(logits, truth),
        }

    @torch.inference_mode()
    def frame_probabilities(self, tokens: Sequence[Tokens]) -> Float[Tensor, "batch views"]:
        """Calibrated probabilities of single frames from their pooled tokens alone, in the order of ``View``."""
        return nn.functional.softmax(self._frame_logits(tokens[-1]).double() / self.temperature, dim=1)

    @torch.inference_mode()
    def predict(self, encoded: EncodedClip) -> ViewPrediction:
        """The view of a whole clip, with calibrated probabilities (temperature of the card)."""
        last = encoded.tokens[-1]
        pooled = pool_frame(last.each(Tensor.float))
        logits = self.decoder(pooled[None], None)[0].double()
        if self.mask_branch is not None:
            images, tokens = encoded.select(spread_rows(encoded.frame_count, MASK_BRANCH_FRAMES))
            logits = product_of_experts(
                logits, self.mask_branch(tokens, images).double().log_softmax(dim=1).mean(dim=0)
            )
        probabilities = nn.functional.softmax(logits / self.temperature, dim=0).tolist()
        return ViewPrediction(dict(zip(View, probabilities, strict=True)))

    def doubts_echo(self, encoded: EncodedClip) -> bool:
        """Whether the clip is no echocardiogram; always False without a ``not_echo`` head."""
        return self.not_echo is not None and self.not_echo.doubts(encoded.tokens[-1].class_token)


def fit_temperature(logits: Float[Tensor, "cases classes"], labels: Int[Tensor, "cases"]) -> float:
    """The temperature that minimises the negative log-likelihood of the true classes; above 1 for overconfident logits.

    The result lies between 0.2 and 5. Without the limits there is no minimum when all cases are classified correctly.

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2.
    """
    scores, truth = logits.detach().double().cpu(), labels.long().cpu()

    def surprise(log_temperature: float) -> float:
        return float(nn.functional.cross_entropy(scores / math.exp(log_temperature), truth))

    found = minimize_scalar(surprise, bounds=(math.log(0.2), math.log(5.0)), method="bounded")
    return math.exp(float(found.x))
