"""Every command of the guide to pretraining, in its order, in miniature: from an archive to one's own analysis."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_recipes import StartingPoint, as_arguments, shrink

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.models.bundle import load_bundle

pytest.importorskip("lance", reason="Lance is not installed; it comes with the extra ingest")

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "pretrain.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALLER: Mapping[str, Mapping[str, Any]] = {
    "phantom": {"studies": 2, "views": "A4C,PLAX", "size": 128},
    "ingest": {"val-percent": 0},
}
"""What a command of the guide is asked for less of, by verb."""
SMALLER_WHERE_GIVEN = {
    "--train.steps": "5",
    "--train.guard.floors.effective_rank": "1",
    "--train.guard.floors.prototype_entropy": "0",
}
"""Four frames have neither the directions nor the prototypes of a real validation."""


def guide_commands() -> list[str]:
    lines = [line for block in BLOCK.findall(GUIDE.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [line for line in lines if not line.startswith("tensorboard ")]


def in_miniature(words: list[str]) -> list[str]:
    """The words of a command, what it asks for much of replaced, and the rest of a small recipe added."""
    verb = words[0]
    given = dict(pairwise(words))
    added: dict[str, str] = {}
    if verb in ("pretrain", "finetune"):
        small = list(as_arguments(shrink(words[1], StartingPoint(Path("no-bundles"), Path("no-camus")))))
        added = {name: value for name, value in zip(small[::2], small[1::2], strict=True) if name not in given}
    fewer = {name: value for name, value in SMALLER_WHERE_GIVEN.items() if name in given}
    options = list(as_arguments(SMALLER.get(verb, {})))
    fewer |= zip(options[::2], options[1::2], strict=True)
    kept = [word for at, word in enumerate(words) if word not in fewer and (not at or words[at - 1] not in fewer)]
    return [*kept, *(part for option in (added | fewer).items() for part in option), "--quiet"]


def without_missing_trackers(line: str) -> str:
    return line if importlib.util.find_spec("mlflow") else line.replace(', "mlflow"', "")


def test_every_command_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in map(without_missing_trackers, guide_commands()):
        words = shlex.split(line)
        at = words.index("echoapex")
        small = in_miniature(words[at + 1 :])
        if at == 0:
            assert run(small) == ExitCode.ALL_GOOD, line
            continue
        scripts = Path(sys.executable).parent
        command = [scripts / words[0], *words[1:at], scripts / "echoapex", *small]
        subprocess.run(command, check=True, timeout=600)
    encoder = load_bundle(Path("runs/own/bundles/encoder"))
    assert load_bundle(Path("runs/own_ef/bundles/ejection_fraction")).card.base_encoder_sha256 == encoder.digest
    assert encoder.digest in Path("results/manifest.json").read_text()
    for name in ("two", "more", "lora", "tracked"):
        assert Path(f"runs/pretrain_{name}/bundles/encoder/weights.safetensors").is_file(), name
    extended = load_bundle(Path("runs/pretrain_tiny_cpu/bundles/encoder")).card
    assert extended.cost.startswith("5 steps"), "three steps, and two more"
    for name in ("own_curated", "guarded", "guarded_rollback"):
        assert Path(f"runs/{name}/bundles/encoder/weights.safetensors").is_file(), name
