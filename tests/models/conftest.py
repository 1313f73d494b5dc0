"""Every test of the models starts from the same random state; small real bundles to test with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from echoapex.models import registry
from echoapex.models.bundle import WEIGHTS_FILE, Card, Preprocessing, save_bundle
from echoapex.models.encoder import EncoderConfig, VisionTransformer

SMALL = EncoderConfig(image_size=32)


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def build_card() -> Callable[..., Card]:
    """A valid encoder card, with changes."""

    def build(**changes: object) -> Card:
        values: dict[str, object] = {
            "name": "test-encoder",
            "version": "1",
            "kind": "encoder",
            "architecture": SMALL.model_dump(mode="json"),
            "preprocessing": Preprocessing(size=(32, 32), mean=0.2, std=0.25),
            "training_data": ("none: random weights",),
            "licence": "Apache-2.0",
            "seed": 0,
        }
        return Card.model_validate({**values, **changes})

    return build


@pytest.fixture(scope="session")
def write_decoder(build_card: Callable[..., Card]) -> Callable[[Path, str, str], Card]:
    """Writes a tiny task bundle that names the given encoder digest."""

    def write(directory: Path, task: str, encoder_sha256: str) -> Card:
        labels = ("left", "right")
        names = {"name": f"test-{task}", "kind": "task", "task": task, "base_encoder_sha256": encoder_sha256}
        return save_bundle(directory, torch.nn.Linear(3, 2), build_card(**names, label_order=labels))

    return write


@pytest.fixture(scope="session")
def write_set(build_card: Callable[..., Card], write_decoder: Callable[..., Card]) -> Callable[..., Path]:
    """Writes an encoder and decoders for the given tasks into a directory."""

    def write(directory: Path, *tasks: str, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        encoder = save_bundle(directory / "encoder", VisionTransformer(SMALL), build_card(), half=True)
        for task in tasks:
            write_decoder(directory / task, task, encoder.files[WEIGHTS_FILE])
        return directory

    return write


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for shipped weights, and an empty user directory."""
    monkeypatch.setattr(registry, "_SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))
    return tmp_path / "shipped"
