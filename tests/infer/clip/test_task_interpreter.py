"""The trained tasks behind the protocol: here with fresh weights, which give the shapes but not the sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echoapex.infer.clip.models import TaskInterpreter
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
    models = TrainedSet(
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
    return TaskInterpreter(models)


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
    from echoapex.infer.clip import models

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
    list(interpreter.segment(clip, (0,), (Structure.LV_CAVITY,)))
    assert len(calls) == len(set(calls)) == 2


def test_devices_are_those_of_the_machine() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match="there is no device 'tpu' here"):
        choose_device("tpu")
