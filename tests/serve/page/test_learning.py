"""The learning loop over HTTP: counting, one run at a time, better or not, stop, restart, and switching back."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from avi_files import write_avi
from page_client import PageClient
from small_echo import write_small_study
from tiny_corrections import WALLS, pseudonyms, write_correction, write_tiny_corrections
from tiny_tasks import build_tasks, save_set

from echoapex.data.datasets.corrections import (
    CORRECTIONS_FOLDER,
    CorrectionsDataset,
    forget_corrected_clips,
    inspect_corrections,
    read_index,
)
from echoapex.data.datasets.inspection import Inspection
from echoapex.io.study_files import open_only_clip
from echoapex.models.registry import find_set
from echoapex.phantom import simulate_clip
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe
from echoapex.recipes.forgetting_check import ForgettingCheck
from echoapex.recipes.recipe import LearningSetting, Provenance
from echoapex.recipes.site_sets import SiteSets
from echoapex.serve.page.learning_runs import RunFiles, StoredRun, check_command, finetune_command
from echoapex.vocabulary import Application, Structure, View

Page = Callable[..., PageClient]
SQUARE = [[30, 30], [60, 30], [60, 60], [30, 60]]

PRETENDED = """
import json, shutil, signal, sys, time
from pathlib import Path
out, bundles, after, waits = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
if after < 0:
    sys.exit("echoapex finetune: the loss is not finite; lower train.optim.lr")
def tell(**entry):
    with (out / "journal.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\\n")
(out / "recipe.json").write_text(json.dumps({"train": {"steps": 2}}))
tell(step=-1, time=0, start_scores={"dice_lv_cavity": 0.5})
tell(step=0, time=0, loss=1.0)
time.sleep(waits)
tell(step=1, time=0, scores={"dice_lv_cavity": after})
shutil.copytree(bundles, out / "bundles", dirs_exist_ok=True)
"""
"""Does what ``echoapex finetune`` leaves behind, without learning anything: a journal and a set of bundles."""


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("corrected")
    write_tiny_corrections(state, wall_points=WALLS)
    return state


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of segmentation writes."""
    out = tmp_path_factory.mktemp("learned") / "bundles"
    setting = LearningSetting(name="lora")
    recipe = DatasetSegmentationRecipe(
        dataset="corrections", root=Path("x"), start="phantom", setting=setting, size_of_start=True
    )
    recipe.export(recipe.build_task(), out, Provenance(name="learned", training_data=("corrections",)))
    return out


@pytest.fixture(scope="module")
def damaged(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights of its decoder that were really spoiled."""
    recipe = DatasetSegmentationRecipe(
        dataset="corrections", root=Path("x"), start="phantom", setting=LearningSetting(name="lora"), size_of_start=True
    )
    task = recipe.build_task()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in task.decoder.parameters():
            weight.add_(torch.randn_like(weight) * weight.std(correction=0))
    out = tmp_path_factory.mktemp("damaged") / "bundles"
    recipe.export(task, out, Provenance(name="learned", training_data=("corrections",)))
    return out


@pytest.fixture
def opened(page: Page, corrected: Path, tmp_path: Path) -> Page:
    """Opens pages on a state with corrections."""
    for room in (CORRECTIONS_FOLDER, "inputs"):
        shutil.copytree(corrected / room, tmp_path / "state" / room)
    return page


@pytest.fixture
def pretend(learned: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs reach this score, from 0.5, after so many seconds, and learn nothing; so nothing is forgotten."""
    same = ForgettingCheck(before={"view_accuracy": 0.9}, after={"view_accuracy": 0.9}, clips=18)

    def check(out: Path, before: str, device: str, patients: int) -> list[str]:
        assert find_set(before).encoder and (out / "candidate" / "segmentation").is_dir()
        written = f"from pathlib import Path; Path({str(out / 'check.json')!r}).write_text({same.model_dump_json()!r})"
        return [sys.executable, "-c", written]

    def choose(after: float, waits_s: float = 0.0, bundles: Path = learned, really: bool = False) -> None:
        def command(record: StoredRun, state: Path, out: Path, more: Sequence[str]) -> list[str]:
            return [sys.executable, "-c", PRETENDED, str(out), str(bundles), str(after), str(waits_s)]

        monkeypatch.setattr("echoapex.serve.page.learning.finetune_command", command)
        monkeypatch.setattr("echoapex.serve.page.learning.check_command", check_command if really else check)

    return choose


def until(page: PageClient, state: str, run: str = "r0001", tick_s: float = 0.02) -> dict[str, Any]:
    ends = time.monotonic() + 180
    while True:
        found = next(one for one in page.get("/learning")["runs"] if one["run"] == run)
        if found["state"] == state:
            return found
        assert time.monotonic() < ends, found
        time.sleep(tick_s)


def test_it_counts_what_was_corrected_and_says_what_is_missing(opened: Page, tmp_path: Path) -> None:
    page = opened()
    found = page.get("/learning")
    tasks = {task["task"]: task for task in found["tasks"]}
    for name in ("segmentation", "view_classification", "lv_wall"):
        counted = {"labelled_clips": 4, "patients": 4, "held_back_patients": 1, "enough": True, "why": ""}
        assert tasks[name] == {"task": name, **counted}
    assert found["runs"] == []
    assert found["current"] == {"name": "phantom", "version": None}
    forget_corrected_clips(tmp_path / "state", f"{3:016x}")
    segmentation = page.get("/learning")["tasks"][0]
    assert not segmentation["enough"]
    assert segmentation["why"].startswith("so far 3 patients teach and 0 are held back to judge; correct more")
    refused = page.send("POST", "/learning/runs", {"task": "segmentation"}, 409)
    assert refused["detail"].startswith("too little was corrected: so far 3 patients")
    refused = page.send("POST", "/learning/runs", {"task": "ejection_fraction"}, 409)
    assert "no recipe learns this task" in refused["detail"]
    page.send("POST", "/learning/runs", {"task": "ejection"}, 422)


def test_a_better_set_is_used_and_can_be_left_again(opened: Page, pretend: Callable[..., None], tmp_path: Path) -> None:
    page = opened()
    pretend(after=0.75)
    run = page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    assert (run["run"], run["task"]) == ("r0001", "segmentation")
    done = until(page, "done")
    assert (done["before"], done["after"]) == (
        {"dice": 0.5, "dice_lv_cavity": 0.5},
        {"dice": 0.75, "dice_lv_cavity": 0.75},
    )
    assert (done["better"], done["switched"], done["step"], done["steps"]) == (True, True, 2, 2)
    assert page.get("/learning")["current"] == {"name": "phantom", "version": 1}
    assert page.get("/session")["weights"]["site_version"] == 1
    sites = SiteSets(tmp_path / "state" / "site", "phantom")
    lineage = sites.lineage(1)
    assert (lineage.run, lineage.before, lineage.base) == ("r0001", {"dice_lv_cavity": 0.5}, "phantom")
    assert lineage.labels == {"clips": 4, "teaching": 3, "judging": 1}
    assert find_set(sites.place(1)).bundles["segmentation"].is_dir()
    assert not (tmp_path / "state" / "learning" / "r0001" / "bundles").exists(), "kept once"
    assert page.send("POST", "/learning/switch", {"run": None}) == {"name": "phantom", "version": None}
    assert not until(page, "done")["switched"]
    assert page.send("POST", "/learning/switch", {"run": "r0001"})["version"] == 1
    restarted = opened()
    assert restarted.get("/learning")["current"]["version"] == 1
    pretend(after=0.9)
    restarted.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    assert until(restarted, "done", "r0002")["switched"]
    assert RunFiles(tmp_path / "state" / "learning").get("r0002").start == str(sites.place(1)), "goes on from the first"
    assert sites.lineage(2).previous == 1


def test_a_set_that_forgot_is_not_switched_to_by_itself(
    opened: Page, pretend: Callable[..., None], damaged: Path, tmp_path: Path
) -> None:
    page = opened()
    page.parts.learning.check_patients = 1
    pretend(after=0.75, bundles=damaged, really=True)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    done = until(page, "done", tick_s=0.2)
    assert (done["better"], done["switched"]) == (True, False)
    assert page.get("/learning")["current"]["version"] is None
    check = done["check"]
    assert check["clips"] == 18 and check["before"]["dice_lv_cavity"] > 0.8
    assert check["after"]["dice_lv_cavity"] < check["before"]["dice_lv_cavity"] - 0.1
    assert check["before"]["wall_point_mm"] == check["after"]["wall_point_mm"], "what was not learned is as it was"
    assert check["refused"].startswith("on simulated patients it is clearly worse than the set in use: ")
    assert "outlines of the LV cavity fell by" in check["refused"]
    lineage = SiteSets(tmp_path / "state" / "site", "phantom").lineage(1)
    assert lineage.check is not None and lineage.check.after == check["after"]
    assert page.send("POST", "/learning/switch", {"run": "r0001"})["version"] == 1, "an admin may know better"
    pretend(after=0.9, really=True)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    second = until(page, "done", "r0002", tick_s=0.2)
    assert second["switched"] and second["check"]["refused"] == ""
    assert second["check"]["before"]["dice_lv_cavity"] == check["after"]["dice_lv_cavity"], "beside the set in use"


def test_a_check_that_fails_does_not_switch(
    opened: Page, pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened()
    pretend(after=0.75)
    fails = [sys.executable, "-c", "import sys; sys.exit('no memory')"]
    monkeypatch.setattr("echoapex.serve.page.learning.check_command", lambda *_: fails)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    done = until(page, "done")
    assert (done["better"], done["switched"]) == (True, False)
    assert "could not be checked" in done["check"]["refused"]


def test_a_check_that_the_end_of_the_server_interrupts_is_made_by_the_next(
    opened: Page, pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = opened()
    pretend(after=0.75)
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr("echoapex.serve.page.learning.check_command", lambda *_: sleeps)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    candidate = tmp_path / "state" / "learning" / "r0001" / "candidate"
    ends = time.monotonic() + 60
    while not candidate.is_dir():
        assert time.monotonic() < ends
        time.sleep(0.05)
    page.parts.learning.close()
    pretend(after=-1)  # learning again would fail
    restarted = opened()
    assert until(restarted, "done")["switched"]
    assert not candidate.exists()


def test_what_is_not_better_is_not_used(opened: Page, pretend: Callable[..., None], tmp_path: Path) -> None:
    page = opened()
    pretend(after=0.5)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    done = until(page, "done")
    assert (done["better"], done["switched"], done["after"]["dice"]) == (False, False, 0.5)
    assert page.get("/learning")["current"]["version"] is None
    refused = page.send("POST", "/learning/switch", {"run": "r0001"}, 409)
    assert "was not better" in refused["detail"]
    page.send("POST", "/learning/switch", {"run": "r0009"}, 404)
    assert not list((tmp_path / "state" / "site").iterdir())


def test_a_run_that_is_stopped_changes_nothing(opened: Page, pretend: Callable[..., None]) -> None:
    page = opened()
    pretend(after=0.9, waits_s=60)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    page.send("POST", "/learning/runs", {"task": "view_classification"}, 202)
    refused = page.send("POST", "/learning/runs", {"task": "segmentation"}, 409)
    assert "waits or runs already" in refused["detail"]
    until(page, "running")
    assert until(page, "queued", "r0002")["step"] == 0, "one at a time"
    page.send("DELETE", "/learning/runs/r0002")
    until(page, "stopped", "r0002")
    page.send("DELETE", "/learning/runs/r0001")
    stopped = until(page, "stopped")
    assert (stopped["better"], stopped["switched"]) == (False, False)
    assert page.get("/learning")["current"]["version"] is None
    page.send("DELETE", "/learning/runs/r0001", status=409)
    page.send("DELETE", "/learning/runs/r0007", status=404)


def test_a_run_goes_on_after_a_restart(opened: Page, pretend: Callable[..., None], tmp_path: Path) -> None:
    page = opened()
    pretend(after=0.9, waits_s=60)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    until(page, "running")
    page.parts.learning.close()
    record = tmp_path / "state" / "learning" / "r0001" / "run.json"
    assert json.loads(record.read_text())["state"] == "running"
    pretend(after=0.9)
    restarted = opened()
    assert until(restarted, "done")["switched"]


def test_why_a_run_failed_is_said(opened: Page, pretend: Callable[..., None]) -> None:
    page = opened()
    pretend(after=-1)
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    assert until(page, "failed")["error"] == "the loss is not finite; lower train.optim.lr"


def test_the_real_command_learns_from_the_corrections_of_the_page(opened: Page, tmp_path: Path) -> None:
    page = opened(bundle=str(save_set(build_tasks(), tmp_path / "tiny")))
    steps = ["--train.steps", "2", "--train.score_every", "2", "--train.precision", "fp32"]
    page.parts.learning.overrides = [*steps, "--task.frames.batch_size", "2", "--task.store.size", "96"]
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 202)
    done = until(page, "done", tick_s=0.5)
    assert done["steps"] == 2
    assert set(done["before"]) == {"dice", "dice_lv_cavity", "dice_left_atrium"}
    assert done["switched"] is done["better"] is (done["after"]["dice"] > done["before"]["dice"])
    assert not (tmp_path / "state" / "learning" / "stores").exists(), "frames of patients do not stay behind"


def test_the_command_is_what_a_person_would_type(tmp_path: Path) -> None:
    record = StoredRun(run="r0001", task=Application.VIEW_CLASSIFICATION, created=0, start="open")
    words = finetune_command(record, tmp_path, tmp_path / "run", ["--train.steps", "3"])[3:]
    assert words[:4] == ["finetune", "corrections_views", "--dataset", "corrections"]
    assert words[4:] == [
        "--root", str(tmp_path), "--out", str(tmp_path / "run"), "--task.start", "open", "--train.trackers", "[]",
        "--train.steps", "3",
    ]  # fmt: skip


def test_a_reader_may_look_but_not_learn(opened: Page, tmp_path: Path) -> None:
    from echoapex.serve.page.schemas import Role
    from echoapex.serve.page.sessions import add_user

    tokens = tmp_path / "users.json"
    reader, reviewer = (add_user(tokens, name, role) for name, role in (("r", Role.READER), ("v", Role.REVIEWER)))
    page = opened(tokens=tokens, logged_in=False)
    page.open(reader)
    assert len(page.get("/learning")["tasks"]) == 3
    page.send("POST", "/learning/runs", {"task": "segmentation"}, 403)
    page.client.cookies.clear()
    page.open(reviewer)
    page.send("POST", "/learning/switch", {"run": None}, 403)


def test_a_clip_with_another_view_only_counts_for_views(opened: Page, tmp_path: Path) -> None:
    clip = simulate_clip(View.A2C, 9, size=96, frames=4, label_frames=range(4))
    write_correction(tmp_path / "state", "e" * 16, pseudonyms("val", 2)[1], clip, view=View.A2C, outlined={})
    tasks = {task["task"]: task for task in opened().get("/learning")["tasks"]}
    assert tasks["view_classification"]["labelled_clips"] == 5
    assert tasks["view_classification"]["held_back_patients"] == 2
    assert tasks["segmentation"]["labelled_clips"] == 4


def test_what_is_corrected_on_the_page_becomes_the_data_set(reviewed: PageClient, tmp_path: Path) -> None:
    state, study = tmp_path / "state", reviewed.study()
    first, second = (clip["clip"] for clip in reviewed.get(f"/studies/{study}")["clips"])
    assert read_index(state).clips == ()
    place = f"/studies/{study}/clips"
    reviewed.send("PATCH", f"{place}/{first}", {"view": "A2C"})
    reviewed.send("PUT", f"{place}/{second}/masks", {"frame": 3, "structure": "lv_cavity", "contour": SQUARE})
    listed = read_index(state).clips
    assert sorted((clip.study, clip.clip) for clip in listed) == sorted([(study, first), (study, second)])
    (patient,) = {clip.patient for clip in listed}
    assert re.fullmatch("[0-9a-f]{32}", patient), "a pseudonym that the file names, not the study"
    records = {record.name: record for record in CorrectionsDataset(state).records()}
    assert records[f"{study}/{first}"].view is View.A2C
    assert records[f"{study}/{second}"].outlined == (Structure.LV_CAVITY,)
    assert sorted(records[f"{study}/{second}"].read_labels()) == [3]
    assert all(record.path.is_file() for record in records.values())
    assert reviewed.get("/learning")["next_best"] == [], "nothing is left to correct"
    reviewed.send("POST", f"/studies/{study}/undo")
    assert [clip.clip for clip in read_index(state).clips] == [first]
    reviewed.send("DELETE", f"/studies/{study}", status=204)
    assert read_index(state).clips == ()


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "study.zip"


def png(frame: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", frame)[1])


def test_what_was_packed_in_an_archive_teaches_too(page: Page, tmp_path: Path) -> None:
    state, opened = tmp_path / "state", page()
    loop = simulate_clip(View.A4C, 9, size=96, frames=6).frames
    write_avi(tmp_path / "loop.avi", loop)
    series = {f"JOHN DOE/frame_{number:03d}.png": png(frame) for number, frame in enumerate(loop)}
    hostile = {"../../outside.avi": (tmp_path / "loop.avi").read_bytes()}
    whole = packed(tmp_path / "packed", {"JOHN DOE.avi": (tmp_path / "loop.avi").read_bytes(), **series})
    opened.upload([whole])
    study = opened.study()
    assert opened.upload([packed(tmp_path / "hostile", hostile)])["refused"], "what upload refuses is never unpacked"
    clips = [clip["clip"] for clip in opened.get(f"/studies/{study}")["clips"]]
    assert len(clips) == 2
    for clip in clips:
        change = {"frame": 3, "structure": "lv_cavity", "contour": SQUARE}
        opened.send("PUT", f"/studies/{study}/clips/{clip}/masks", change)
    listed = read_index(state).clips
    assert sorted(clip.clip for clip in listed) == sorted(clips)
    assert all(clip.source.startswith(f"corrections/{study}/") and "DOE" not in clip.source for clip in listed)
    records = list(CorrectionsDataset(state).records())
    assert [record.outlined for record in records] == [(Structure.LV_CAVITY,)] * 2
    for record in records:
        assert len(list(open_only_clip(record.path).frames())) == 6
        assert (record.read_labels()[3] > 0).any()
    assert stat.S_IMODE((state / "corrections" / study / f"{clips[0]}.unpacked").stat().st_mode) == 0o700
    inspection = Inspection(state, every_file=True)
    inspect_corrections(inspection)
    assert inspection.is_sound and inspection.counted["clips"] == 2
    opened.send("POST", f"/studies/{study}/undo")
    assert [clip.clip for clip in read_index(state).clips] == [clips[0]]
    assert not (state / "corrections" / study / f"{clips[1]}.unpacked").exists()
    opened.send("POST", f"/studies/{study}/redo")
    assert len(read_index(state).clips) == 2
    opened.send("DELETE", f"/studies/{study}", status=204)
    assert not (state / "corrections" / study).exists()


def test_studies_are_found_again_by_a_run_wherever_the_page_was_started(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small_study(tmp_path / "studies" / "one", views=(View.A4C,))
    monkeypatch.chdir(tmp_path)
    opened = page(studies="studies", contours="ed_es")
    uploaded = opened.upload(write_small_study(tmp_path / "elsewhere", number=7, views=(View.A4C,)))["studies"][0]
    for row in opened.when_ready(2):
        clip = opened.get(f"/studies/{row['study']}")["clips"][0]["clip"]
        opened.send("PATCH", f"/studies/{row['study']}/clips/{clip}", {"view": "A2C"})
    sources = {clip.study == uploaded: clip.source for clip in read_index(tmp_path / "state").clips}
    assert sources[True].startswith("inputs/"), "an upload moves with the state folder"
    assert sources[False].startswith(str(tmp_path / "studies"))
    monkeypatch.chdir("/")
    assert all(record.path.is_file() for record in CorrectionsDataset(tmp_path / "state").records())
