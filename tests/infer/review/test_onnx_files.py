"""Exported files of a set: their cards, and the same masks in native pixels as the set itself gives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from small_echo import write_small_study

from echoapex.cli.models import export
from echoapex.data.preprocess import sample_linear
from echoapex.domain.clip import FrameTransform
from echoapex.domain.prompts import Prompt
from echoapex.infer.interactive.clicks import OUTSIDE_LOGIT
from echoapex.infer.review.onnx_files import OnnxCard, card_path, export_frame_encoder, export_promptable_decoder
from echoapex.infer.review.review_clip import ReviewClip, ReviewModels
from echoapex.io.study_files import open_only_clip
from echoapex.models.decoders.prompt_encoder import PointLabel
from echoapex.models.onnx_graph import OnnxExportError
from echoapex.vocabulary import Structure, View


@pytest.fixture(scope="module")
def models() -> ReviewModels:
    return ReviewModels.load("phantom", "cpu", "fp32")


def test_clicks_and_boxes_give_the_masks_of_the_server(models: ReviewModels, tmp_path: Path) -> None:
    source = open_only_clip(write_small_study(tmp_path, views=(View.A4C,))[0])
    clip = ReviewClip.open(models, source)
    card = export_promptable_decoder(models, tmp_path / "decoder.onnx")
    decoder = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx"), providers=["CPUExecutionProvider"])
    transform = FrameTransform(clip.square_from_native, clip.size, (card.input_size, card.input_size))
    labels = [PointLabel.POSITIVE, PointLabel.NEGATIVE]
    clicks = np.array([[48.0, 40.0], [20.0, 70.0]])
    corners = np.array([[30.0, 20.0], [70.0, 75.0]])
    box = [PointLabel.BOX_FIRST_CORNER, PointLabel.BOX_LAST_CORNER]
    prompts = [
        (Prompt(clip.size, positive_xy=((48.0, 40.0),), negative_xy=((20.0, 70.0),)), clicks, labels),
        (Prompt(clip.size, box_xyxy=(30.0, 20.0, 70.0, 75.0)), corners, box),
    ]
    for structure in (None, Structure.LV_CAVITY):
        for prompt, points, kinds in prompts:
            logits, iou = decoder.run(
                None,
                {
                    **clip.embedding(3),
                    "point_coords": transform.map_points(points)[None].astype(np.float32),
                    "point_labels": np.array([kinds], np.int64),
                    "structure": np.array([structure or card.no_structure], np.int64),
                    "mask_input": np.zeros((1, 1, card.mask_size, card.mask_size), np.float32),
                    "has_mask": np.zeros(1, np.float32),
                },
            )
            square = cv2.resize(logits[0, 0], (card.input_size, card.input_size), interpolation=cv2.INTER_LINEAR)
            native = sample_linear(square - np.float32(OUTSIDE_LOGIT), transform) + OUTSIDE_LOGIT
            named = replace(prompt, structure=structure)
            expected, overlap = models.segmenter.predict(clip._frame(3), named, None)
            assert np.mean((native > 0) == (expected > 0)) > 0.999
            assert np.abs(native - expected).max() < 1e-3 * np.abs(expected).max()
            assert float(iou[0]) == pytest.approx(overlap, abs=1e-4)


def test_a_card_says_what_a_program_must_know(models: ReviewModels, tmp_path: Path) -> None:
    path = tmp_path / "out" / "encoder.onnx"
    card = export_frame_encoder(models, path)
    assert OnnxCard.model_validate_json(card_path(path).read_bytes()) == card
    content = json.loads(card_path(path).read_bytes())
    assert content["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["size_bytes"] == path.stat().st_size
    side = content["input_size"]
    assert content["inputs"] == [{"name": "pixels", "dtype": "uint8", "shape": [1, side, side]}]
    assert [item["name"] for item in content["outputs"]] == ["image_embeddings", "half_features", "quarter_features"]
    assert content["structures"]["aortic_root"] == int(Structure.AORTIC_ROOT)
    assert content["point_labels"]["padding"] == -1
    assert set(content["weights_sha256"].values()) <= set(models.digests.values())
    assert content["licence"]
    assert "not a medical device" in content["disclaimer"]


def test_weights_on_a_gpu_are_not_exported(models: ReviewModels, tmp_path: Path) -> None:
    with pytest.raises(OnnxExportError, match="load the set on the CPU"):
        export_promptable_decoder(replace(models, device="cuda"), tmp_path / "decoder.onnx")


def test_the_command_writes_the_file_and_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("phantom", onnx=tmp_path / "decoder.onnx") == 0
    assert "opset 17" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"decoder.onnx", "decoder.json"}
    assert export("phantom", onnx=tmp_path / "decoder.bin") == 2
    assert "ends with .onnx" in capsys.readouterr().err
    assert export("no-such-set", onnx=tmp_path / "decoder.onnx") == 2
