"""A run for a GPU of minutes, rehearsed on a CPU: pack, run, stop, resume, join; and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from gpu_pack import unpack
from gpu_parts import Limits
from gpu_run import NEEDED, can_compile, main
from tiny_camus import write_tiny_camus
from tiny_clip_folder import outline_tiny_clip_folder, write_tiny_clip_folder
from tiny_recipes import SIDE, StartingPoint, shrink
from tiny_tasks import build_tasks, multitask_recipe, save_set

from echoapex.config import merge, read_recipe
from echoapex.data.stores.prepared_set import open_prepared_set, read_origin
from echoapex.models.attention import Block
from echoapex.models.bundle import load_bundle, read_card
from echoapex.recipes.runner import find_recipe
from echoapex.train.journal import read_journal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CAMUS, a folder of clips, a set to start from, and two recipes that are far from their end in seconds."""
    place = tmp_path_factory.mktemp("gpu")
    write_tiny_camus(place / "camus", training=3)
    clips = place / "clips"
    outline_tiny_clip_folder(clips, write_tiny_clip_folder(clips))
    start = StartingPoint(save_set(build_tasks(), place / "start"), place / "camus", clips)
    for name in ("research_joint", "pretrain_tiny_phantom"):
        recipe = merge(read_recipe(find_recipe(name)), shrink(name, start))
        recipe["train"] |= {"steps": 100_000, "score_every": 50_000, "log_every": 1, "precision": "fp32"}
        if "real" in recipe["task"]:
            real = recipe["task"]["real"]
            recipe["task"]["real"] = {"camus": real["camus"], "clips": real["permissive"]}
            recipe["task"] |= {
                part: multitask_recipe().model_dump(mode="json")[part] for part in ("segmentation", "wall")
            }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(recipe, default=str))))
    return place


@pytest.fixture(scope="module")
def pack(place: Path) -> Path:
    small = ["--size", str(SIDE), "--frames", "4", "--labelled", "2", "--held-back", "1"]
    assert main(["pack", str(place / "camus"), str(place / "clips"), "--out", str(place / "pack.zip"), *small]) == 0
    return place / "pack.zip"


def seconds(count: float, work: Path) -> list[str]:
    """A rehearsal on the CPU: time enough for everything, and some seconds for training."""
    return ["--device", "cpu", "--workers", "1", "--work", str(work), "--train.minutes", str(count / 60)]


def index_of(parts: Path) -> dict[str, object]:
    return dict(json.loads((parts / "index.json").read_bytes()))


def test_a_pack_holds_what_training_needs_and_its_licence(pack: Path, tmp_path: Path) -> None:
    sets = unpack(pack, tmp_path / "pack")
    assert set(sets) == {"camus", "clips"}
    teaching, judging = open_prepared_set(sets["camus"])
    assert judging is not None
    assert (len(teaching), len(judging)) == (4, 2), "two views of two patients, and of the one who judges"
    assert teaching.frames(0).shape == (2, SIDE, SIDE)
    assert teaching.frames(0).dtype == np.uint8
    assert not set(teaching.truth["patient"]) & set(judging.truth["patient"])
    assert (read_origin(sets["camus"]).licence, read_origin(sets["camus"]).non_commercial) == ("CC-BY-NC-SA-4.0", True)
    assert len(open_prepared_set(sets["clips"])[0]) == 1


def test_a_pack_that_would_be_too_large_leaves_clips_out(place: Path, tmp_path: Path, capsys: object) -> None:
    typed = ["pack", f"heart={place / 'camus'}", "--size", "64", "--held-back", "1"]
    assert main([*typed, "--out", str(tmp_path / "whole.zip")]) == 0
    size = (tmp_path / "whole.zip").stat().st_size
    most = ["--most-mib", str(0.9 * size / 2**20)]
    assert main([*typed, "--out", str(tmp_path / "small.zip"), *most]) == 0
    assert (tmp_path / "small.zip").stat().st_size <= 0.9 * size
    teaching, judging = open_prepared_set(unpack(tmp_path / "small.zip", tmp_path / "small")["heart"])
    assert 1 <= len(teaching) < 4
    assert judging is not None
    assert len(judging) == 2, "nobody who judges is left out"


def test_a_run_stops_on_time_goes_on_exactly_and_is_joined(
    place: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, large = str(place / "research_joint.yaml"), ["--most-mib", "400", "--part-mib", "20", "--most-files", "24"]
    work = tmp_path / "work"
    # a command of its own, without an installation: workers must find the source tree too
    typed = [
        "run",
        recipe,
        "--pack",
        str(pack),
        *seconds(3, work),
        *large,
        "--workers",
        "2",
        "--train.loader_workers",
        "1",
    ]
    environment = {"PATH": os.environ["PATH"], "OUT": str(tmp_path / "back"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_run.py"), *typed]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first = index_of(tmp_path / "back")
    assert first["exact"] is True
    assert 1 <= int(str(first["step"])) < 100_000
    files = list((tmp_path / "back").iterdir())
    assert len(files) <= 24
    assert max(file.stat().st_size for file in files) <= 20 * 2**20
    assert {"log.txt", "journal.jsonl", "cards.json"} <= {file.name for file in files}
    assert "time is up" in (tmp_path / "back" / "log.txt").read_text()

    bare = tmp_path / "later"
    bare.mkdir()
    work.rename(bare / "old")  # another machine: nothing is there but the parts and the pack
    monkeypatch.setenv("OUT", str(tmp_path / "back2"))
    assert main(["resume", str(tmp_path / "back"), "--pack", str(pack), *seconds(3, work), *large]) == 0
    second = index_of(tmp_path / "back2")
    assert int(str(second["step"])) > int(str(first["step"]))
    steps = [entry["step"] for entry in read_journal(tmp_path / "back2" / "journal.jsonl") if "loss" in entry]
    assert steps == list(range(int(str(second["step"])))), "one journal, without a gap or a step twice"

    assert main(["join", str(tmp_path / "back2"), "--out", str(tmp_path / "joined")]) == 0
    card = load_bundle(tmp_path / "joined" / "bundles" / "segmentation").card
    assert card.non_commercial
    assert card.metrics
    assert any("CAMUS" in line and "2 patients" in line for line in card.training_data), "the pack says what it is"


def test_a_run_whose_checkpoint_is_too_large_goes_on_from_its_weights(
    place: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, work = str(place / "pretrain_tiny_phantom.yaml"), tmp_path / "work"
    assert main(["run", recipe, "--pack", str(pack), "--out", str(tmp_path / "back"), *seconds(3, work)]) == 0
    first = index_of(tmp_path / "back")
    assert first["exact"] is False
    files = list((tmp_path / "back").iterdir())
    assert len(files) <= 8
    assert sum(file.stat().st_size for file in files) <= 64 * 2**20
    work.rename(tmp_path / "old")
    again = ["resume", str(tmp_path / "back"), "--pack", str(pack), "--out", str(tmp_path / "back2")]
    assert main([*again, *seconds(3, work)]) == 0
    assert f"goes on from the weights of step {first['step']}" in (tmp_path / "back2" / "log.txt").read_text()
    assert int(str(index_of(tmp_path / "back2")["step"])) > int(str(first["step"]))
    assert main(["join", str(tmp_path / "back2"), "--out", str(tmp_path / "joined")]) == 0
    card = read_card(tmp_path / "joined" / "bundles" / "encoder")
    assert "went on from echoapex-tiny-pretrained 0.1.0" in card.notes
    assert "CC-BY-NC-SA-4.0" in card.licence

    damaged = tmp_path / "back2" / "part-000.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert main(["join", str(tmp_path / "back2"), "--out", str(tmp_path / "again")]) == 2
    assert capsys.readouterr().err == f"gpu_run: {damaged}: is damaged; fetch it again\n"


def test_what_cannot_be_run_is_one_line(
    place: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUT", raising=False)
    recipe = str(place / "research_joint.yaml")

    def told(*typed: str) -> str:
        assert main(typed) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "Give --out FOLDER, or set OUT" in told("run", recipe)
    out = ["--out", str(tmp_path / "back")]
    assert "PyTorch sees no GPU here" in told("run", recipe, *out, "--work", str(tmp_path / "a"), "--device", "cuda")
    lacks = told("run", "research_joint", "--pack", str(pack), *out, *seconds(1, tmp_path / "b"))
    assert "lacks mit, permissive, litfl, ucsf" in lacks
    assert "learns from no pack" in told(
        "run", "phantom_multitask", "--pack", str(pack), *out, *seconds(1, tmp_path / "c")
    )
    assert "is no readable pack" in told("run", recipe, "--pack", recipe, *out, *seconds(1, tmp_path / "d"))
    assert "index.json: cannot be read" in told("join", str(tmp_path), "--out", str(tmp_path / "e"))
    (tmp_path / "w" / "run").mkdir(parents=True)
    assert "holds an earlier run" in told("run", recipe, *out, *seconds(1, tmp_path / "w"))
    late = ["--minutes", "1", "--reserve", "59.9", *seconds(1, tmp_path / "g")]
    assert "ask for fewer patients" in told("run", recipe, "--pack", str(pack), *out, *late)
    assert "train.stps: unknown key" in told("run", recipe, *out, *seconds(1, tmp_path / "f"), "--train.stps", "3")


def test_training_needs_no_library_that_reads_clips() -> None:
    """As on a machine that has PyTorch and the usual packages only; one that is missing is named in one line."""
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {blocked!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    readers = {"av", "pydicom", "nibabel", "simplejpeg", "gdcm", "cyclopts", "rich", "lance"}
    assert not readers & set(NEEDED)
    code = script.format(blocked=readers) + "import echoapex.recipes.runner"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"PYTHONPATH": "src", "PATH": ""})
    patched = "import gpu_run; gpu_run.NEEDED['no_such'] = 'no-such'; raise SystemExit(gpu_run.main(['run', 'x']))"
    found = subprocess.run(
        [sys.executable, "-c", patched], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (
        2,
        "gpu_run: not installed here: no-such; carry their wheels along\n",
    )


def test_a_compiler_that_fails_is_noticed_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Block) -> None:
        raise RuntimeError("no compiler\nis here")

    monkeypatch.setattr(Block, "compile", broken)
    assert can_compile("cpu") == "RuntimeError: no compiler is here"
    monkeypatch.setattr(Block, "compile", lambda self: None)
    assert can_compile("cpu") == ""


def test_the_limits_leave_room_for_what_lies_beside_the_parts() -> None:
    limits = Limits()
    assert limits.part_bytes < 16 * 2**20
    assert limits.bytes < 64 * 2**20
    assert -(-limits.bytes // limits.part_bytes) + 4 <= 8
