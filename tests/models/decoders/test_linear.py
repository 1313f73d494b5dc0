from __future__ import annotations

import pytest
import torch

from echoapex.losses.supervised import smoothed_cross_entropy
from echoapex.models.decoders.linear import LinearViewConfig, LinearViewDecoder, pool_frame
from echoapex.models.encoder import Tokens
from echoapex.vocabulary import View


def decoder(width: int = 6) -> LinearViewDecoder:
    return LinearViewDecoder(LinearViewConfig(width=width)).eval()


def test_pooling_puts_the_class_token_before_the_mean_patch() -> None:
    patches = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    tokens = Tokens(torch.tensor([[7.0, 8.0]]), torch.zeros(1, 0, 2), patches, (1, 2))
    assert pool_frame(tokens).tolist() == [[7.0, 8.0, 2.0, 4.0]]


def test_one_logit_per_view_and_clip() -> None:
    assert decoder()(torch.randn(3, 5, 12)).shape == (3, len(View))


def test_padding_frames_change_nothing() -> None:
    clip = torch.randn(2, 4, 12)
    padded = torch.cat((clip, 1e3 * torch.randn(2, 3, 12)), dim=1)
    mask = torch.tensor([True] * 4 + [False] * 3).expand(2, -1)
    model = decoder()
    torch.testing.assert_close(model(padded, mask), model(clip, None))


def test_the_order_of_frames_does_not_matter_but_their_content_does() -> None:
    clip, model = torch.randn(1, 4, 12), decoder()
    torch.testing.assert_close(model(clip), model(clip.flip(1)))
    assert not torch.allclose(model(clip), model(clip[:, :2]))


def test_a_clip_without_any_frame_gives_finite_logits() -> None:
    assert decoder()(torch.randn(1, 3, 12), torch.zeros(1, 3, dtype=torch.bool)).isfinite().all()


def test_features_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="length 10, this decoder takes 12: give the output of pool_frame"):
        decoder()(torch.randn(1, 3, 10))


def test_it_learns_what_is_linear() -> None:
    features, labels = torch.randn(36, 1, 64), torch.arange(36) % len(View)
    model = LinearViewDecoder(LinearViewConfig(width=32, dropout=0.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(80):
        loss = smoothed_cross_entropy(model(features), labels, smoothing=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50
    assert (model(features).argmax(dim=1) == labels).all()
