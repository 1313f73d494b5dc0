from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from echoapex.losses.supervised import ef_loss
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder

SMALL = ClipConfig(width=16, dim=32, depth=2, layout_channels=4, layout_side=4, dropout=0.0)


def beating_clip(ef_percent: Tensor, times_s: Tensor, heart_rate_hz: float = 1.2) -> tuple[Tensor, Tensor]:
    """Patch tokens of a disc whose area follows the volume, and the volume over the largest."""
    grid = torch.linspace(-1, 1, 8)
    radius_of_patch = (grid[:, None].square() + grid.square()).sqrt().reshape(-1)
    contraction = 0.5 - 0.5 * torch.cos(2 * math.pi * heart_rate_hz * times_s)
    volume = 1 - ef_percent[:, None] / 100 * contraction
    inside = torch.sigmoid(8 * (0.9 * volume.pow(1 / 3)[..., None] - radius_of_patch))
    meaning = torch.randn(2, SMALL.width, generator=torch.Generator().manual_seed(5))
    return inside[..., None] * meaning[0] + (1 - inside[..., None]) * meaning[1], volume


def test_shapes_and_ranges() -> None:
    read = ClipDecoder(ClipConfig())(torch.randn(2, 7, 100, 192), torch.rand(2, 7).cumsum(1))
    assert read.ef_percent.shape == read.ef_log_variance.shape == (2,)
    assert read.relative_volume.shape == (2, 7)
    assert ((read.ef_percent > 0) & (read.ef_percent < 100)).all()
    assert ((read.ef_log_variance > 0) & (read.ef_log_variance < 8)).all()
    assert ((read.relative_volume > 0) & (read.relative_volume < 1)).all()


def test_a_fresh_decoder_guesses_a_typical_ejection_fraction() -> None:
    read = ClipDecoder(SMALL)(torch.randn(4, 7, 64, 16), torch.arange(7.0).expand(4, -1))
    assert ((read.ef_percent > 35) & (read.ef_percent < 75)).all()


def test_padding_frames_change_nothing() -> None:
    decoder = ClipDecoder(SMALL).eval()
    patches, times = torch.randn(2, 9, 64, 16), torch.rand(2, 9).cumsum(1)
    mask = torch.tensor([True] * 6 + [False] * 3).expand(2, -1)
    padded, short = decoder(patches, times, mask), decoder(patches[:, :6], times[:, :6], None)
    torch.testing.assert_close(padded.ef_percent, short.ef_percent)
    torch.testing.assert_close(padded.ef_log_variance, short.ef_log_variance)
    torch.testing.assert_close(padded.relative_volume[:, :6], short.relative_volume)


def test_the_origin_of_time_does_not_matter() -> None:
    decoder = ClipDecoder(SMALL).eval()
    patches, times = torch.randn(1, 6, 64, 16), torch.rand(1, 6).cumsum(1)
    early, late = decoder(patches, times), decoder(patches, times + 3.5)
    torch.testing.assert_close(early.ef_percent, late.ef_percent, atol=1e-3, rtol=0)
    torch.testing.assert_close(early.relative_volume, late.relative_volume, atol=1e-4, rtol=0)


def test_time_is_read_and_not_the_number_of_the_frame() -> None:
    decoder = ClipDecoder(SMALL).eval()
    patches, times = torch.randn(1, 6, 64, 16), torch.arange(6.0)[None] / 30
    assert not torch.allclose(
        decoder(patches, times).relative_volume, decoder(patches, 3 * times).relative_volume, atol=1e-4
    )
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = decoder(patches[:, order], times[:, order])
    torch.testing.assert_close(
        shuffled.relative_volume, decoder(patches, times).relative_volume[:, order], atol=1e-4, rtol=0
    )


@pytest.fixture(scope="module")
def trained() -> ClipDecoder:
    """A small decoder taught beats at 25 to 40 frames per second."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    decoder = ClipDecoder(SMALL)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(250):
        ef = 20 + 55 * torch.rand(8, generator=generator)
        rate = 25 + 15 * torch.rand(8, 1, generator=generator)
        times = torch.arange(30.0) / rate
        patches, volume = beating_clip(ef, times)
        loss = ef_loss(decoder(patches, times), ef, volume)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return decoder.eval()


def test_it_learns_the_ejection_fraction_and_the_curve(trained: ClipDecoder) -> None:
    ef = torch.tensor([25.0, 40.0, 55.0, 70.0])
    times = (torch.arange(30.0) / 30).expand(4, -1)
    patches, volume = beating_clip(ef, times)
    with torch.no_grad():
        read = trained(patches, times)
    assert (read.ef_percent - ef).abs().mean() < 4
    assert (read.relative_volume - volume).abs().mean() < 0.04


def test_the_frame_rate_hardly_matters(trained: ClipDecoder) -> None:
    """The same second at 25, 50 and 100 frames per second, most of which were never seen in training."""
    ef = torch.tensor([30.0, 60.0])
    answers = []
    for rate in (25, 50, 100):
        times = (torch.arange(rate) / rate).expand(2, -1)
        with torch.no_grad():
            answers.append(trained(beating_clip(ef, times)[0], times).ef_percent)
    assert (answers[1] - answers[0]).abs().max() < 3
    assert (answers[2] - answers[0]).abs().max() < 4


def test_times_and_frames_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(1, 5\) times do not fit \(1, 6\) frames"):
        ClipDecoder(SMALL)(torch.randn(1, 6, 64, 16), torch.zeros(1, 5))


def test_a_head_of_odd_length_is_refused() -> None:
    with pytest.raises(ValueError, match="dim 36 must be a multiple of twice the 4 heads"):
        ClipDecoder(ClipConfig(dim=36))
