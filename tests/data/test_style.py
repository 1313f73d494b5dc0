"""Style: grey levels and coarse amplitudes are taken over, black and shapes stay."""

import numpy as np
import pytest

from echoapex.data.style import StyleBank, StyleConfig, match_histogram, swap_low_frequencies


def _frame(seed: int, low: int, high: int, side: int = 32) -> np.ndarray:
    frame = np.random.default_rng(seed).integers(low, high, (side, side)).astype(np.uint8)
    frame[:, :8] = 0
    return frame


def test_a_full_match_has_the_other_frames_quantiles() -> None:
    image, other = _frame(0, 10, 60), _frame(1, 100, 240)
    matched = match_histogram(image, other, 1.0)
    for share in (10, 50, 90):
        assert np.percentile(matched[:, 8:], share) == pytest.approx(np.percentile(other[:, 8:], share), abs=6)
    assert not matched[:, :8].any() and (matched[:, 8:] > 0).all()


def test_a_match_never_turns_dark_and_bright_round_and_none_changes_nothing() -> None:
    image, other = _frame(2, 1, 255), _frame(3, 30, 90)
    matched = match_histogram(image, other, 0.7)
    order = np.argsort(image[:, 8:], axis=None, kind="stable")
    assert (np.diff(matched[:, 8:].ravel()[order].astype(int)) >= 0).all()
    np.testing.assert_array_equal(match_histogram(image, other, 0.0), image)
    black = np.zeros_like(image)
    np.testing.assert_array_equal(match_histogram(image, black, 1.0), image)


def test_only_low_frequencies_are_swapped() -> None:
    columns = np.arange(64)
    fine = np.broadcast_to(30 * np.cos(2 * np.pi * columns * 20 / 64), (64, 64))
    image = np.rint(100 + fine + 20 * np.cos(2 * np.pi * columns * 2 / 64)).astype(np.uint8)
    other = np.full((64, 64), 140, np.uint8)
    changed = swap_low_frequencies(image, other, 0.05).astype(float)
    spectrum = np.abs(np.fft.rfft(changed.mean(axis=0))) / 32
    assert changed.mean() == pytest.approx(140, abs=1)
    assert spectrum[20] == pytest.approx(30, abs=1)
    assert spectrum[2] == pytest.approx(0, abs=1)


class _Clips:
    def __init__(self, frames: np.ndarray) -> None:
        self.truth: dict[str, np.ndarray] = {}
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def frames(self, clip: int) -> np.ndarray:
        return self._frames[clip][None]

    def labels(self, clip: int) -> np.ndarray:
        raise AssertionError("labels are not read")


def test_a_bank_styles_as_often_as_it_is_told() -> None:
    real = _Clips(np.stack([_frame(4, 150, 250)]))
    image = _frame(5, 10, 60)
    rng = np.random.default_rng(0)
    never = StyleBank([real], StyleConfig(histogram_probability=0, spectrum_probability=0))
    always = StyleBank([real], StyleConfig(histogram_probability=1, spectrum_probability=0))
    np.testing.assert_array_equal(never(image, rng), image)
    assert always(image, rng)[:, 8:].mean() > image[:, 8:].mean() + 20
