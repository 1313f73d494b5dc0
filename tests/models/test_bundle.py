from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from echoapex.models import bundle as bundle_module
from echoapex.models.bundle import (
    CARD_FILE,
    WEIGHTS_FILE,
    BundleError,
    Card,
    build_encoder_from,
    load_bundle,
    read_card,
    save_bundle,
    update_card,
    verify_bundle,
)
from echoapex.models.encoder import EncoderConfig, VisionTransformer

SMALL = EncoderConfig(image_size=32)


def test_an_encoder_comes_back_as_it_was(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    encoder = VisionTransformer(SMALL).eval()
    sealed = save_bundle(tmp_path / "encoder", encoder, build_card())
    loaded = load_bundle(tmp_path / "encoder")
    assert loaded.card == sealed == read_card(tmp_path / "encoder")
    images = torch.randn(1, 1, 32, 48)
    torch.testing.assert_close(build_encoder_from(loaded)(images).patches, encoder(images).patches, atol=0, rtol=0)
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == [CARD_FILE, WEIGHTS_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"], "no drafts are left"
    modes = {(tmp_path / "encoder" / name).stat().st_mode for name in (CARD_FILE, WEIGHTS_FILE)}
    assert len(modes) == 1, "who may read the card may read the weights"


def test_half_is_half_the_size_and_nearly_the_same(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    encoder = VisionTransformer(SMALL).eval()
    save_bundle(tmp_path / "full", encoder, build_card())
    save_bundle(tmp_path / "half", encoder, build_card(), half=True)
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.51 * sizes[0]
    loaded = load_bundle(tmp_path / "half")
    assert {tensor.dtype for tensor in loaded.state.values()} == {torch.float32}
    images = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(build_encoder_from(loaded)(images).patches, encoder(images).patches, atol=0.02, rtol=0)


def test_the_same_weights_have_the_same_digest(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    encoder = VisionTransformer(SMALL)
    first, second = (save_bundle(tmp_path / name, encoder, build_card()) for name in "ab")
    assert first == second


@pytest.mark.parametrize("position", [0, 7, 100, -1])
def test_a_flipped_bit_of_the_weights_is_refused(
    tmp_path: Path, build_card: Callable[..., Card], position: int
) -> None:
    save_bundle(tmp_path / "encoder", nn.Linear(3, 2), build_card())
    path = tmp_path / "encoder" / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    for read in (verify_bundle, load_bundle):
        with pytest.raises(BundleError, match=r"weights\.safetensors: is damaged .* fetch the bundle again"):
            read(tmp_path / "encoder")


def test_an_edited_card_is_refused_and_update_card_seals_it_again(
    tmp_path: Path, build_card: Callable[..., Card]
) -> None:
    directory = tmp_path / "encoder"
    save_bundle(directory, nn.Linear(3, 2), build_card())
    changed = update_card(directory, metrics={"dice": 0.93}, notes=("measured later",))
    assert read_card(directory).metrics == {"dice": 0.93}
    assert verify_bundle(directory) == changed
    path = directory / CARD_FILE
    path.write_text(path.read_text().replace("0.93", "0.99"))
    with pytest.raises(BundleError, match=r"card\.json: was damaged or edited"):
        read_card(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no valid card"),
        (b"{", "is no valid card"),
        (b'{"name": "x"}', "is no valid card"),
        (b" " * (1 << 20) + b"{}", "larger than 1 MiB"),
    ],
)
def test_a_broken_card_is_one_clear_line(
    tmp_path: Path, build_card: Callable[..., Card], content: bytes, message: str
) -> None:
    save_bundle(tmp_path / "encoder", nn.Linear(3, 2), build_card())
    (tmp_path / "encoder" / CARD_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(tmp_path / "encoder")
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    with pytest.raises(BundleError, match=r"card\.json: cannot be read"):
        load_bundle(tmp_path / "nowhere")
    save_bundle(tmp_path / "encoder", nn.Linear(3, 2), build_card())
    (tmp_path / "encoder" / WEIGHTS_FILE).unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors: cannot be read"):
        load_bundle(tmp_path / "encoder")


def test_a_pickled_checkpoint_is_never_opened(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    directory = tmp_path / "encoder"
    card = save_bundle(directory, nn.Linear(3, 2), build_card())
    torch.save({"weight": torch.zeros(2)}, directory / WEIGHTS_FILE)
    resealed = card.sealed({WEIGHTS_FILE: bundle_module.compute_sha256(directory / WEIGHTS_FILE)})
    (directory / CARD_FILE).write_text(resealed.model_dump_json())
    with pytest.raises(BundleError, match="is not a safetensors file"):
        load_bundle(directory)


def test_a_decoder_refuses_an_encoder_it_was_not_trained_on(tmp_path: Path, write_set: Callable[..., Path]) -> None:
    mine = write_set(tmp_path / "mine", "lv_wall", seed=1)
    other = write_set(tmp_path / "other", seed=2)
    decoder = load_bundle(mine / "lv_wall")
    decoder.require_encoder(load_bundle(mine / "encoder"))
    with pytest.raises(BundleError, match=r"was trained on the encoder .* fine-tune again"):
        decoder.require_encoder(load_bundle(other / "encoder"))
    with pytest.raises(BundleError, match="holds a decoder"):
        decoder.require_encoder(decoder)
    with pytest.raises(BundleError, match="holds a decoder for 'lv_wall'"):
        build_encoder_from(decoder)


def test_a_card_that_disagrees_with_its_weights_is_refused(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    card = build_card(architecture=EncoderConfig(image_size=64, registers=2).model_dump(mode="json"))
    save_bundle(tmp_path / "encoder", VisionTransformer(SMALL), card)
    with pytest.raises(BundleError, match=r"wrong shape: .*register_tokens is \(1, 4, 192\)"):
        build_encoder_from(load_bundle(tmp_path / "encoder"))
    save_bundle(tmp_path / "encoder", VisionTransformer(SMALL), build_card(architecture={"sise": "tiny"}))
    with pytest.raises(BundleError, match="did you mean 'size'"):
        build_encoder_from(load_bundle(tmp_path / "encoder"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "task"},
        {"kind": "task", "task": "segmentation"},
        {"task": "segmentation"},
        {"kind": "task", "task": "segmentation", "base_encoder_sha256": "abc"},
        {"licence": ""},
        {"colour": "blue"},
    ],
)
def test_an_incomplete_card_cannot_be_made(build_card: Callable[..., Card], changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Card"):
        build_card(**changes)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    with pytest.raises(BundleError, match=r"'w' is not finite as torch\.float32; training diverged"):
        save_bundle(tmp_path / "b", {"w": torch.tensor([1.0, float("nan")])}, build_card())
    with pytest.raises(BundleError, match=r"'w' is not finite as torch\.float16; save without half"):
        save_bundle(tmp_path / "b", {"w": torch.tensor([1e6])}, build_card(), half=True)
    assert not (tmp_path / "b").exists()


def test_a_failed_save_leaves_the_older_bundle(
    tmp_path: Path, build_card: Callable[..., Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save_bundle(tmp_path / "b", nn.Linear(3, 2), build_card())

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bundle_module, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(tmp_path / "b", nn.Linear(3, 2), build_card(version="2"))
    assert verify_bundle(tmp_path / "b") == first
    monkeypatch.undo()
    save_bundle(tmp_path / "b", nn.Linear(3, 2), build_card(version="2"))
    assert json.loads((tmp_path / "b" / CARD_FILE).read_text())["version"] == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_shared_tensors_and_counters_are_stored(tmp_path: Path, build_card: Callable[..., Card]) -> None:
    weight = torch.randn(4, 4)
    state = {"a": weight, "b": weight.t(), "steps": torch.tensor(7)}
    save_bundle(tmp_path / "b", state, build_card(), half=True)
    loaded = load_bundle(tmp_path / "b").state
    torch.testing.assert_close(loaded["b"], loaded["a"].t())
    assert loaded["steps"].dtype == torch.int64
    assert int(loaded["steps"]) == 7
