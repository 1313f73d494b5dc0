"""Standardised frames forget gain and brightness; a batch moves as one."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.data.batch import EncodedClipBatch, FrameBatch
from echoapex.models.encoder import standardise


def random_pixels(*shape: int, low: int = 0, high: int = 256) -> torch.Tensor:
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("leading", [(3,), (2, 5), (1,)])
def test_every_frame_has_zero_mean_and_unit_variance(leading: tuple[int, ...]) -> None:
    images = standardise(random_pixels(*leading, 24, 24))
    assert images.shape == (*leading, 1, 24, 24)
    assert images.dtype == torch.float32
    assert torch.allclose(images.mean(dim=(-2, -1)), torch.zeros(*leading, 1), atol=1e-5)
    assert torch.allclose(images.square().mean(dim=(-2, -1)), torch.ones(*leading, 1), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 55))
def test_gain_and_brightness_change_nothing(gain: int, brightness: int) -> None:
    dark = random_pixels(2, 16, 16, high=50)
    bright = (dark.int() * gain + brightness).to(torch.uint8)
    assert torch.allclose(standardise(bright), standardise(dark), atol=1e-4)


def test_a_frame_does_not_depend_on_its_neighbours() -> None:
    pixels = random_pixels(3, 16, 16)
    assert torch.equal(standardise(pixels)[1], standardise(pixels[1:2])[0])


@pytest.mark.parametrize("level", [0, 77])
def test_a_frame_without_contrast_is_zero(level: int) -> None:
    assert not standardise(torch.full((1, 8, 8), level, dtype=torch.uint8)).any()


def test_a_batch_moves_to_a_device_as_one() -> None:
    frames = FrameBatch(
        pixels=random_pixels(2, 16, 16),
        view=torch.tensor([0, -1]),
        labels=random_pixels(2, 16, 16, high=7),
        structure_known=torch.ones(2, 6, dtype=torch.bool),
        wall_points=torch.zeros(2, 4, 2),
        has_walls=torch.tensor([True, False]),
        clip=torch.tensor([0, 0]),
        relative_volume=torch.tensor([1.0, float("nan")]),
        origin=torch.tensor([0, 0]),
    )
    clips = EncodedClipBatch(
        patches=torch.zeros(1, 3, 4, 8),
        times_s=torch.zeros(1, 3),
        frame_mask=torch.ones(1, 3, dtype=torch.bool),
        ef_percent=torch.tensor([55.0]),
        relative_volume=torch.ones(1, 3),
    )
    for batch in (frames, clips):
        moved = batch.to(torch.device("meta"))
        assert type(moved) is type(batch)
        for field in fields(batch):
            there, here = getattr(moved, field.name), getattr(batch, field.name)
            assert there.device.type == "meta"
            assert (there.shape, there.dtype) == (here.shape, here.dtype)
