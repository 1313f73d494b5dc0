"""Every ``echoapex`` command of the guide on de-identification runs, in its order, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from deidentified import BrightBoxReader, write_fan

from echoapex.cli import run
from echoapex.io.deidentification import text_search
from echoapex.io.deidentification.profile import REFUSED_OPTIONS, ProfileOption

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "deidentify.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("echoapex ")]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_search, "RapidTextReader", BrightBoxReader)
    monkeypatch.chdir(tmp_path)
    for folder in ("studies", "more"):
        write_fan(tmp_path / folder / "a.dcm", SOPInstanceUID="1.2.3.4")
    assert len(commands()) >= 5
    for line in commands():
        assert run(shlex.split(line)[1:]) == 0, line
    assert {path.name for path in (tmp_path / "first").iterdir()} >= {"proof.json", "proof.html", "records"}
    named = [
        next((tmp_path / out).glob("*/*/*.dcm")).relative_to(tmp_path / out).parts[0] for out in ("first", "second")
    ]
    assert named[0] == named[1]


def test_the_guide_names_every_option() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert all(re.search(rf"`(?:--retain |--clean ){option}`", text) for option in ProfileOption)
    assert all(f"`{option}`" in text for option in REFUSED_OPTIONS)
