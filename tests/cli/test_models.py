from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from echoapex.cli import run
from echoapex.cli.models import bring_in, show_card, show_sets, verify
from echoapex.models import registry
from echoapex.models.bundle import Card, Preprocessing, save_bundle


@pytest.fixture
def phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default set with an encoder only, and an empty user directory."""
    monkeypatch.setattr(registry, "_SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    directory = tmp_path / "shipped" / "phantom"
    write_encoder(directory)
    return directory


def write_encoder(directory: Path, **changes: object) -> None:
    values: dict[str, object] = {
        "name": "phantom-encoder",
        "version": "1",
        "kind": "encoder",
        "architecture": {},
        "preprocessing": Preprocessing(size=(32, 32), mean=0.2, std=0.25),
        "training_data": ("phantom [seed 0-99]",),
        "licence": "Apache-2.0",
    }
    save_bundle(directory / "encoder", torch.nn.Linear(3, 2), Card.model_validate({**values, **changes}))


def test_list_names_sets_licences_and_sizes(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_encoder(tmp_path / "home" / "bundles" / "camus", licence="CC BY-NC-SA 4.0", non_commercial=True)
    assert show_sets() == 0
    output = capsys.readouterr().out
    assert "phantom (default)" in output
    assert "CC BY-NC-SA 4.0 (non-commercial)" in output
    assert "0.0 MB" in output


def test_card_is_for_people_and_for_programs(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_card() == 0
    assert "phantom [seed 0-99]" in capsys.readouterr().out
    assert show_card("phantom/encoder", as_json=True) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["encoder"]["licence"] == "Apache-2.0"
    assert show_card(str(phantom)) == 0
    assert show_card("phantom/lv_wall") == 2
    assert "holds encoder only" in capsys.readouterr().err


def test_verify_tells_damage_by_its_exit_code(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify() == 0
    assert "phantom/encoder: sound" in capsys.readouterr().out
    (phantom / "encoder" / "weights.safetensors").write_bytes(b"")
    assert verify("phantom") == 3
    assert "is damaged" in capsys.readouterr().out
    assert verify("absent") == 2
    error = capsys.readouterr().err
    assert "no such set" in error
    assert error.count("\n") == 1


def test_import_makes_a_set_usable_by_name(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_encoder(tmp_path / "clinic", name="clinic-encoder")
    assert bring_in(tmp_path / "clinic") == 0
    assert "use it with --bundle clinic" in capsys.readouterr().out
    assert show_card("clinic") == 0
    assert "clinic-encoder" in capsys.readouterr().out
    assert bring_in(tmp_path / "clinic") == 2
    assert bring_in(tmp_path / "clinic", replace=True) == 0
    assert bring_in(tmp_path / "absent.zip") == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_verb_is_reached_from_the_command_line(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    bare = capsys.readouterr().out
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out == bare
    assert "phantom (default)" in bare
    assert run(["models", "card", "phantom", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"]["name"] == "phantom-encoder"
    assert run(["models", "verify", "nowhere"]) == 2
    assert run(["models", "merge", "phantom", "--out", "merged"]) == 2, "its decoders have no adapter"
