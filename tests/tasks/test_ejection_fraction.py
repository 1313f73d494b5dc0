"""The ejection fraction of a clip with its interval; the encoder stays as it is."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import TinyTasks, clip_batch

from echoapex.models.decoders.spatiotemporal import ClipPrediction
from echoapex.models.encoder import EncodedClip
from echoapex.tasks.ejection_fraction import EjectionFraction


def test_only_the_decoder_learns(tasks: TinyTasks) -> None:
    task = tasks.ejection_fraction
    trainable = {name.split(".")[0] for name, p in task.named_parameters() if p.requires_grad}
    assert trainable == {"decoder"}


def test_the_answer_lies_in_its_interval_and_the_curve_peaks_at_one(tasks: TinyTasks, encoded: EncodedClip) -> None:
    answer = tasks.ejection_fraction.predict(encoded)
    low, high = answer.interval
    assert 0 <= low <= answer.ef_percent <= high <= 100
    assert answer.relative_volume.shape == (5,)
    assert answer.relative_volume.max() == 1
    assert (answer.relative_volume >= 0).all()


def test_the_interval_is_as_wide_as_validation_showed(tasks: TinyTasks, encoded: EncodedClip) -> None:
    task = tasks.ejection_fraction
    widths = []
    for factor in (0.5, 1.0):
        low, high = EjectionFraction(task.encoder, task.decoder, task.blocks, factor).predict(encoded).interval
        widths.append(high - low)
    assert widths[1] == pytest.approx(2 * widths[0], rel=1e-3)


def test_times_count_from_the_first_frame(tasks: TinyTasks, encoded: EncodedClip) -> None:
    later = EncodedClip(encoded.pixels, encoded.tokens, encoded.times_s + 7)
    first, second = tasks.ejection_fraction.predict(encoded), tasks.ejection_fraction.predict(later)
    assert first.ef_percent == pytest.approx(second.ef_percent, abs=0.01)


def answering(ef: list[float], log_variance: float) -> object:
    return lambda patches, times, mask: ClipPrediction(
        torch.tensor(ef), torch.full((len(ef),), log_variance), torch.ones(times.shape)
    )


def test_score_is_the_error_in_points(tasks: TinyTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = tasks.ejection_fraction, clip_batch(clips=3)
    batch = replace(batch, ef_percent=torch.tensor([50.0, 60.0, float("nan")]))
    monkeypatch.setattr(task.decoder, "forward", answering([54.0, 58.0, 99.0], log_variance=0.0))
    assert task.score(batch) == pytest.approx({"ef_mae": 3.0, "ef_squared_error_over_variance": 10.0})
    unknown = replace(batch, ef_percent=torch.full((3,), float("nan")))
    assert task.score(unknown) == {}


def test_unknown_fractions_and_volumes_do_not_count(tasks: TinyTasks) -> None:
    task, batch = tasks.ejection_fraction, clip_batch(clips=2)
    nothing = replace(
        batch, ef_percent=torch.full((2,), float("nan")), relative_volume=torch.full((2, 6), float("nan"))
    )
    assert task.loss(nothing).total.item() == 0
    assert task.loss(batch).total.item() > 0
