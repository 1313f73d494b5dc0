"""The trained tasks behind the protocol: here with fresh weights, which give the shapes but not the sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echoapex.infer.clip import models
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.outlines import REACH_S
from echoapex.models.decoders.linear import LinearViewConfig, LinearViewDecoder
from echoapex.models.decoders.multiscale import WallPointConfig, WallPointDecoder
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder
from echoapex.models.encoder import EncoderConfig, TaskModel, VisionTransformer
from echoapex.models.precision import DeviceError, choose_device
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.trained_set import TrainedSet
from echoapex.tasks.view_classification import ViewClassification
from echoapex.vocabulary import Application, Structure, View

BLOCKS = (2, 5, 8, 11)
SIZE, SMALL = 64, 48


@pytest.fixture(scope="module")
def interpreter() -> TaskInterpreter:
    """Segmentation has an encoder of its own with a smaller input, as a fine-tuned set has."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shared, own = (VisionTransformer(EncoderConfig(image_size=size)).eval() for size in (SIZE, SMALL))
    trained = TrainedSet(
        ViewClassification(shared, LinearViewDecoder.build(LinearViewConfig()), (11,)).eval(),
        SegmentationTask(own, PromptableDecoder.build(PromptableConfig()), BLOCKS).eval(),
        LvWall(shared, WallPointDecoder.build(WallPointConfig()), BLOCKS).eval(),
        EjectionFraction(shared, ClipDecoder.build(ClipConfig()), (11,)).eval(),
        {
            Application.VIEW_CLASSIFICATION: TaskModel(shared, (11,), SIZE),
            Application.SEGMENTATION: TaskModel(own, BLOCKS, SMALL),
            Application.LV_WALL: TaskModel(shared, BLOCKS, SIZE),
            Application.EJECTION_FRACTION: TaskModel(shared, (11,), SIZE),
        },
        {"tiny/encoder": "1" * 64},
    )
    return TaskInterpreter(trained)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE), np.uint8)


TIMES = (0.0, 0.03, 0.06, 0.09, 0.12)


def test_every_answer_has_its_shape(interpreter: TaskInterpreter, pixels: np.ndarray) -> None:
    clip = interpreter.encode(pixels, TIMES)
    assert interpreter.input_size == SIZE
    assert sum(interpreter.classify_view(clip).probabilities.values()) == pytest.approx(1)
    assert set(interpreter.classify_view(clip).probabilities) == set(View)
    masks = list(interpreter.segment(clip, (0, 3), (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)))
    assert [row for row, _, _ in masks] == [0, 3]
    assert all(probabilities.shape == (2, SIZE, SIZE) for _, probabilities, _ in masks)
    assert all(probabilities.min() >= 0 and probabilities.max() <= 1 for _, probabilities, _ in masks)
    points = interpreter.find_wall_points(clip, (1,))
    assert [(row, found.shape, confidence.shape) for row, found, confidence in points] == [(1, (4, 2), (4,))]
    estimate = interpreter.estimate_ejection_fraction(clip)
    assert 0 <= estimate.interval[0] <= estimate.ef_percent <= estimate.interval[1] <= 100
    assert estimate.relative_volume.shape == (5,)


def test_the_encoder_computes_in_the_precision_that_was_chosen(
    interpreter: TaskInterpreter, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    encoder = interpreter._models.encoders[Application.VIEW_CLASSIFICATION].encoder
    hook = encoder.blocks[0].attention.register_forward_hook(lambda module, given, result: seen.append(result.dtype))
    answers = []
    for precision in ("fp32", "bf16"):
        reading = TaskInterpreter(interpreter._models, precision)
        answers.append(reading.estimate_ejection_fraction(reading.encode(pixels, TIMES)).ef_percent)
    hook.remove()
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert answers[1] == pytest.approx(answers[0], abs=1.0), "rounding, and no other answer"


def test_no_rows_need_no_encoder(interpreter: TaskInterpreter, pixels: np.ndarray) -> None:
    clip = interpreter.encode(pixels, TIMES)
    assert list(interpreter.segment(clip, (), (Structure.LV_CAVITY,))) == []
    assert interpreter.find_wall_points(clip, ()) == []
    assert clip.by_pass == {}


def test_each_encoder_runs_once_per_clip(
    interpreter: TaskInterpreter, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = models.encode_clip

    def counted(encoder: VisionTransformer, blocks: object, *rest: object, **named: object) -> object:
        calls.append(id(encoder))
        return original(encoder, blocks, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "encode_clip", counted)
    clip = interpreter.encode(pixels, TIMES)
    interpreter.classify_view(clip)
    interpreter.find_wall_points(clip, (0,))
    interpreter.estimate_ejection_fraction(clip)
    assert len(calls) == 1
    list(interpreter.segment(clip, (0, 1), (Structure.LV_CAVITY,)))
    assert len(calls) == len(set(calls)) == 2


def test_a_frame_that_is_alone_is_outlined_at_five_scales(interpreter: TaskInterpreter, pixels: np.ndarray) -> None:
    structures = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)
    clip = interpreter.encode(pixels, TIMES)
    once = {row: found for row, found, _ in interpreter._segment(clip, range(5), structures)}
    among_neighbours = {row: found for row, found, _ in interpreter.segment(clip, (2, 3), structures)}
    assert all(np.array_equal(found, once[row]) for row, found in among_neighbours.items())
    scaled = [interpreter._segment_scaled(clip, [0], structures, scale)[0] for scale in models._OUTLINE_SCALES]
    ((row, alone, overlap),) = interpreter.segment(clip, (0,), structures)
    plain = next(found for _, _, found in interpreter._segment(clip, (0,), structures))
    assert row == 0
    assert overlap == pytest.approx(np.mean([plain, *(found for _, _, found in scaled)], axis=0))
    middle = SIZE // 2
    expected = (once[0] + sum(found for found, _, _ in scaled))[:, middle, middle] / 5
    assert alone[:, middle, middle] == pytest.approx(expected, abs=1e-6)
    smaller = scaled[0][0] + scaled[1][0]
    assert alone[:, 0, 0] == pytest.approx((once[0] + smaller)[:, 0, 0] / 3, abs=1e-6), "larger ones lost their edge"


def test_the_view_of_stills_is_the_mean_of_three_scales(interpreter: TaskInterpreter, pixels: np.ndarray) -> None:
    def view_of(times_s: tuple[float, float]) -> np.ndarray:
        found = interpreter.classify_view(interpreter.encode(pixels[:2], times_s)).probabilities
        return np.array([found[view] for view in View])

    def once(scale: float) -> np.ndarray:
        clip = models.ClipTokens(np.stack([models._scaled(pixels[row], scale) for row in (0, 1)]), (0.0, 0.4))
        found = interpreter.models.view_classification.predict(
            interpreter.tokens(clip, Application.VIEW_CLASSIFICATION)
        ).probabilities
        return np.array([found[view] for view in View])

    assert view_of((0.0, 0.4)) == pytest.approx(np.mean([once(1.0), *map(once, models._VIEW_SCALES)], axis=0))
    assert view_of((0.0, 0.02)) == pytest.approx(once(1.0)), "neighbours in time"


def test_the_scaled_answer_lies_where_the_frame_has_it() -> None:
    blob = np.zeros((64, 64), np.float32)
    blob[40:50, 12:22] = 1
    for scale in models._OUTLINE_SCALES:
        there_and_back = models._scaled(models._scaled(blob, scale), 1 / scale)
        assert np.abs(there_and_back - blob).sum() < 0.35 * blob.sum()
        rows, columns = np.nonzero(there_and_back > 0.5)
        assert (rows.mean(), columns.mean()) == pytest.approx((44.5, 16.5), abs=0.3)


def test_neighbours_in_time_are_those_that_would_steady_a_frame() -> None:
    times = (0.0, 0.05, 0.3, 0.8, 0.88)
    assert models._alone(range(5), times) == [2]
    assert models._alone((0, 2, 4), times) == [0, 2, 4]
    assert models._alone((1,), times) == [1]
    weights = np.exp(-0.5 * (models.ALONE_S / REACH_S) ** 2)
    assert weights == pytest.approx(0.01, abs=0.002), "the least weight that steady_masks keeps"


def test_devices_are_those_of_the_machine() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match="there is no device 'tpu' here"):
        choose_device("tpu")
