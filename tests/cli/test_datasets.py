from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dataset_findings import edit_table
from tiny_clip_folder import write_tiny_clip_folder

from echoapex.cli import run
from echoapex.data.datasets import DATASETS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_tiny_clip_folder(root)
    return root


@pytest.fixture
def own(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    return Path(shutil.copytree(written, tmp_path / "own"))


@pytest.mark.parametrize("words", [["datasets"], ["datasets", "list"]])
def test_the_list_names_licence_access_files_and_tasks(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert run(words) == 0
    output = capsys.readouterr().out
    for name, description in DATASETS.items():
        for text in (name, description.licence, description.access, description.citation, description.files[0]):
            assert text in output
    assert "view_classification: A4C, A2C; segmentation: lv_cavity, lv_myocardium, left_atrium" in output


def test_a_sound_copy_exits_with_0(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "verify", "folder", "--root", str(own), "--all"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "folder: sound; 3 clips can be used (3 clips, 3 patients)\n"
    assert captured.err == "", "no progress where there is no terminal"


def test_something_wrong_exits_with_3_and_says_it_in_words(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "ward 1" / "clip1.avi").unlink()
    edit_table(own / "clips.csv", lambda rows: rows[0].__setitem__("patient", ""))
    assert run(["datasets", "verify", "folder", "--root", str(own)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "wrong  ward 1/clip1.avi: is listed but not there; download or unpack it again"
    assert lines[1].startswith("doubtful  clips.csv: line 2: has a split but no patient")
    assert lines[-1].startswith("folder: not sound; 2 clips can be used")


def test_nothing_usable_exits_with_4(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in own.rglob("*.avi"):
        path.unlink()
    assert run(["datasets", "verify", "folder", "--root", str(own)]) == 4
    assert "0 clips can be used" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["datasets", "verify", "echonet_dynamic", "--root", str(empty)]) == 4
    error = capsys.readouterr().err
    assert "holds no FileList.csv" in error
    assert error.count("\n") == 1


def test_wrong_usage_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "verify", "echonet", "--root", str(tmp_path)]) == 2
    assert "known: camus, echonet_dynamic" in capsys.readouterr().err
    assert run(["datasets", "verify", "camus", "--root", str(tmp_path / "absent")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert run(["datasets", "verify", "camus"]) == 2


def test_json_is_for_programs(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "ward 1" / "clip1.avi").write_bytes(b"no clip")
    assert run(["datasets", "verify", "folder", "--root", str(own), "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert (content["dataset"], content["sound"], content["usable"]) == ("folder", False, 3)
    assert content["counted"] == {"clips": 3, "patients": 3}
    (finding,) = content["findings"]
    assert (finding["severity"], finding["check"], finding["file"]) == ("error", "unreadable file", "ward 1/clip1.avi")
    assert run(["datasets", "verify", "unity", "--root", str(own), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["findings"][0]["check"] == "layout"
