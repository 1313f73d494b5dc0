"""The guides for administrators, researchers and engineers run from their first command to their last."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from node_process import RunningNode
from real_peers import Orthanc, dcmtk, dcmtk_program, free_port, orthanc_program, until
from small_echo import write_small_study

from echoapex.cli import run
from echoapex.vocabulary import View

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, kind: str) -> list[str]:
    text = (DOCS / "guides" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]


def test_the_guide_for_researchers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands("for-researchers.md")
    assert [line[1] for line in lines] == ["phantom", "analyze", "evaluate", "summarize", "measure"]
    for line in lines:
        assert run(line[1:]) == 0, line
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert metrics, "the studies were found in the predictions"
    assert not (tmp_path / "scores" / "predictions").exists(), "what was analysed is scored, not analysed again"
    assert (tmp_path / "summary" / "summary.csv").is_file()
    assert ", 0 changed" in capsys.readouterr().err
    (code,) = blocks("for-researchers.md", "python")
    exec(code, {})
    assert "LV ejection fraction" in capsys.readouterr().out


def test_the_guide_for_engineers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_study(tmp_path / "study", views=(View.PLAX,))
    defined = {"docs": DOCS}
    for code in blocks("for-engineers.md", "python"):
        exec(code, defined)
    assert "mm" in capsys.readouterr().out
    (line,) = commands("for-engineers.md")
    assert run(line[1:]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    dcmtk_program("storescu")
    server = Orthanc(tmp_path / "orthanc")
    yield server
    server.stop()


def test_the_guide_for_administrators_runs(archive: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ports of the test, and outlines at two moments only, so that it takes less time."""
    monkeypatch.chdir(tmp_path)
    (settings,) = (yaml.safe_load(block) for block in blocks("for-administrators.md", "yaml"))
    settings["peers"]["archive"]["port"] = archive.dicom_port
    settings["analysis"] |= {"contours": "ed_es", "precision": "fp32"}
    del settings["port"]
    node = RunningNode(tmp_path / "node", free_port(), settings)
    try:
        archive.ask("/modalities/node", ["ECHOAPEX", "127.0.0.1", node.port], "PUT")
        for line in commands("for-administrators.md"):
            run_line(line, node, archive)
        until(node.is_done, "the study is done", 90)
        assert archive.modalities() == ["DOC", "SEG", "SR", "SR"]
        assert node.ask("/health") == "ok\n"
    finally:
        node.kill()


def run_line(line: list[str], node: RunningNode, archive: Orthanc) -> None:
    """One command of the guide; the node runs already."""
    if line[:2] == ["echoapex", "phantom"]:
        assert run(line[1:]) == 0
    elif line == ["echoapex", "listen", "node.yaml"]:
        return
    elif line[0] == "echoapex":
        done = node.command(*(str(node.file) if word == "node.yaml" else word for word in line[2:]))
        assert done.returncode == 0, done.stderr
        assert line[2] != "peers" or "answers" in done.stdout
    elif line[0] == "storescu":
        done = dcmtk(line[0], *(str(node.port) if word == "11112" else word for word in line[1:]))
        assert done.returncode == 0, done.stderr
    else:
        assert line[0] == "curl"
        assert node.ask(line[1].removeprefix("http://127.0.0.1:11180"))
