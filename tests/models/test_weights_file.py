from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from echoapex.models.weights_file import WeightsError, load_weights, read_safetensors


def test_every_mismatch_is_listed_and_nothing_is_loaded() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {
        "0.weight": torch.zeros(2, 3),
        "0.bias": torch.zeros(5),
        "9.bias": torch.zeros(1),
        "1.bias": torch.zeros(2),
    }
    with pytest.raises(WeightsError) as caught:
        load_weights(module, state, "file.safetensors")
    message = str(caught.value)
    assert message.startswith("file.safetensors: the weights do not fit the model")
    assert "missing: 1.weight" in message
    assert "unexpected: 9.bias" in message
    assert "wrong shape: 0.bias is (5,), the model has (2,)" in message
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_long_lists_are_shortened() -> None:
    with pytest.raises(WeightsError, match="and 12 more"):
        load_weights(nn.Sequential(*(nn.Linear(1, 1) for _ in range(10))), {}, "empty")


def test_files_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_file({"a": torch.ones(3)}, good)
    torch.testing.assert_close(read_safetensors(good)["a"], torch.ones(3))
    for name, content in {"empty": b"", "short": good.read_bytes()[:-4], "huge_header": b"\xff" * 16}.items():
        bad = tmp_path / f"{name}.safetensors"
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name}\.safetensors"):
            read_safetensors(bad)
    with pytest.raises(WeightsError, match="does not exist"):
        read_safetensors(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_safetensors(tmp_path)
