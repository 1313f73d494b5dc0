"""Application 1: which of the 18 views a clip shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.distributions import Beta

from echoapex.config import Config
from echoapex.data.batch import FrameBatch, standardise
from echoapex.domain import ViewPrediction
from echoapex.losses.supervised import smoothed_cross_entropy
from echoapex.models.decoders.linear import LinearViewDecoder, pool_frame
from echoapex.models.encoder import VisionTransformer
from echoapex.models.tokens import Tokens
from echoapex.tasks.encoded_clip import EncodedClip
from echoapex.tasks.not_echo import NotEchoHead
from echoapex.tasks.outline_reader import OUTLINED_FRAMES, OutlineReader, agree, spread
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.vocabulary import View


class ViewLossConfig(Config):
    """What keeps the decoder from being too sure of the views it is taught."""

    smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target that is spread over all views."""
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
        outlines: OutlineReader | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.blocks = tuple(blocks)
        self.temperature = temperature
        self.config = config or ViewLossConfig()
        self.outlines = outlines
        self.not_echo: NotEchoHead | None = None

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
            images, tokens = encoded.select(spread(encoded.frame_count, OUTLINED_FRAMES))
            logits = agree(logits, self.outlines(tokens, images).double().log_softmax(dim=1).mean(dim=0))
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
