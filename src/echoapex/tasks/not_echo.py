"""What a set may have learned of pictures that are no echocardiogram: one score on the class tokens of a clip.

The bundle of view classification may carry it: its card says under ``architecture.not_echo`` how the score is made, and
its weights hold the numbers. The score grows with doubt; from ``threshold`` on the clip is set aside. A set without it
is read as before.

``mahalanobis``: the squared distance of the clip's mean class token from the mean of echocardiograms, in units of their
covariance, over the length of the token (Lee et al., "A simple unified framework for detecting out-of-distribution
samples", 2018). ``linear``: the log odds of a linear classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config

PART = "not_echo"
_PREFIX = f"{PART}."


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
    views = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    head = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    return views, head


def join_not_echo(views: Mapping[str, Tensor], head: NotEchoHead) -> dict[str, Tensor]:
    """The weights of a bundle that carries both."""
    return {**views, **{f"{_PREFIX}{name}": value for name, value in head.state_dict().items()}}
