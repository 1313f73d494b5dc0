"""From an archive to an analysis with an encoder of one's own, by five commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_recipes import StartingPoint, as_arguments, shrink

from echoapex.cli import run
from echoapex.cli.exit_codes import ExitCode
from echoapex.models.bundle import load_bundle

pytest.importorskip("lance", reason="Lance is not installed; it comes with the extra ingest")


def test_five_commands_lead_from_studies_to_an_analysis_with_ones_own_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = StartingPoint(Path("runs/pretrain_tiny_cpu/bundles"), Path("no-camus"))
    pretraining, finetuning = (shrink(name, own) for name in ("pretrain_tiny_cpu", "phantom_ejection_fraction"))
    pretraining["task"]["archives"] = ["frames"]
    commands = [
        ["phantom", "--studies", "1", "--seed", "42", "--views", "A4C,PLAX", "--size", "128", "--out", "studies"],
        ["ingest", "studies", "--out", "frames", "--val-percent", "0"],
        ["pretrain", "pretrain_tiny_cpu", "--out", "runs/pretrain_tiny_cpu", *as_arguments(pretraining)],
        ["finetune", "phantom_ejection_fraction", "--out", "runs/ef", *as_arguments(finetuning)],
        ["analyze", "studies", "--out", "results", "--bundle", "runs/ef/bundles"],
    ]
    for command in commands:
        assert run([*command, "--quiet"]) == ExitCode.ALL_GOOD, command[0]
    encoder = load_bundle(Path("runs/pretrain_tiny_cpu/bundles/encoder"))
    assert load_bundle(Path("runs/ef/bundles/ejection_fraction")).card.base_encoder_sha256 == encoder.digest
    assert encoder.digest in Path("results/manifest.json").read_text()
    assert Path("results/results.json").is_file()
