"""The guide to ingest, done as it is written: simulated studies, their frame store, and reading it in Python."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.data.stores.frame_store import FrameStore

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "ingest.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("echoapex ")]
    here = [line for line in lines if "/archive" not in line]  # the others want a cluster and a bucket
    assert [line.split()[1] for line in here] == ["phantom", "ingest"]
    for line in here:
        assert run([*shlex.split(line)[1:], "--quiet"]) == ExitCode.ALL_GOOD
    assert {path.name for path in (tmp_path / "frames").iterdir()} >= set(
        re.findall(r"^\| `([\w.]+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    (snippet,) = blocks("python")
    # by chance both patients may be on one side
    sides = [split for split in ("train", "val") if len(FrameStore("frames", split)) >= 3]
    found: dict[str, object] = {}
    exec(snippet.replace('"train"', f'"{sides[0]}"'), found)
    frames, known = found["frames"], found["known"]
    assert isinstance(frames, list)
    assert isinstance(known, dict)
    assert [frame.shape for frame in frames] == [(256, 256)] * 3
    assert set(known["content"]) == {"b_mode"}
    assert (known["row_mm"] > 0).all()
