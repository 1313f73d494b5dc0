"""Faults in the middle of an analysis: whatever ends it, and wherever, the same command completes the study.

The run is a forked child. The n-th time that it opens a file to write or renames one, it is killed, asked to end, or
told that the disk is full. Then the same command runs without a fault, and what lies there must be what an undisturbed
run leaves. ``ECHOAPEX_ALL_FAULTS=1`` takes every place; CI takes some of each kind.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import LabelledStudy

from echoapex.cli import stop_cleanly_when_told
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter, StudyAnalyzer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fault is injected into a forked child")
QUICK = AnalysisOptions(contours="ed_es", overlays=False)
EVERYWHERE = bool(os.environ.get("ECHOAPEX_ALL_FAULTS"))
PLACES_IN_CI = 4
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def analyze(study: LabelledStudy, folder: Path, out: Path) -> None:
    StudyAnalyzer(NamedInterpreter(study.oracle, "oracle", "cpu"), QUICK).run([folder], out)


def in_child(work: Callable[[], None], place: Path, fault: Callable[[], None], at: int) -> tuple[int, int]:
    """Run ``work`` in a child with ``fault`` at its ``at``-th writing in ``place``; exit status, writings counted."""
    place.mkdir(parents=True)
    counted = place.with_suffix(".writings")
    child = os.fork()
    if child == 0:
        writings = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal writings
            writes = event == "os.rename" or (event == "open" and bool((arguments[2] or 0) & _WRITING))
            if writes and str(arguments[0]).startswith(str(place)):
                writings += 1
                if writings == at or (fault is _no_room and writings > at > 0):  # a full disk stays full
                    fault()

        code = 1
        try:
            stop_cleanly_when_told()
            sys.addaudithook(watch)
            work()
            code = 0
        except (KeyboardInterrupt, SystemExit, AnalysisError, OSError):
            code = 3
        finally:
            place = Path("/nothing is counted from here on")
            counted.write_text(str(writings))
            os._exit(code)
    return os.waitpid(child, 0)[1], int(counted.read_text()) if counted.exists() else 0


def content(out: Path) -> dict[str, bytes]:
    """Everything that a run leaves, without the manifest's clock."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["complete"]
    return {**files, "listed": json.dumps(manifest["files"]).encode()}


@pytest.fixture(scope="module", autouse=True)
def one_key_for_all_names() -> Iterator[None]:
    """Names of clips are keyed at random, by a new key in each new output; here all outputs have the same one."""
    patch = pytest.MonkeyPatch()
    patch.setattr(secrets, "token_hex", lambda size: "5a" * size)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def undisturbed(
    labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], int]:
    """What a run without a fault leaves, and how often it writes."""
    out = tmp_path_factory.mktemp("undisturbed") / "0" / "out"
    status, writings = in_child(partial(analyze, labelled_study, labelled_study.folder, out), out.parent, _kill, -1)
    assert status == 0
    return content(out), writings


@pytest.mark.parametrize("fault", [_kill, _ask_to_end, _no_room], ids=["killed", "SIGTERM", "full disk"])
def test_a_fault_at_any_writing_loses_no_study(
    labelled_study: LabelledStudy, undisturbed: tuple[dict[str, bytes], int], tmp_path: Path, fault: Callable[[], None]
) -> None:
    whole, writings = undisturbed
    assert writings >= 20
    places = range(1, writings + 1, 1 if EVERYWHERE else -(-writings // PLACES_IN_CI))
    lost = []
    for at in places:
        out = tmp_path / str(at) / "out"
        run = partial(analyze, labelled_study, labelled_study.folder, out)
        status, _ = in_child(run, out.parent, fault, at)
        assert status != 0, f"the fault at writing {at} was swallowed"
        analyze(labelled_study, labelled_study.folder, out)
        if content(out) != whole:
            lost.append(at)
        shutil.rmtree(out.parent)
    print(f"{len(places)} faults injected, {len(lost)} studies lost")  # noqa: T201
    assert not lost


def test_a_damaged_clip_costs_itself_alone(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    files = sorted(labelled_study.folder.glob("*.dcm"))
    cuts = (0, 100, 200, 1_000, 5_000, -5_000, -100, -1)[:: 1 if EVERYWHERE else 3]
    faults = lost = 0
    for victim in files if EVERYWHERE else files[:1]:
        for cut in cuts:
            folder, out = tmp_path / f"{victim.stem}{cut}" / "in", tmp_path / f"{victim.stem}{cut}" / "out"
            shutil.copytree(labelled_study.folder, folder)
            (folder / victim.name).write_bytes(victim.read_bytes()[:cut])
            analyze(labelled_study, folder, out)
            results = json.loads((out / "results.json").read_text())
            faults += 1
            lost += len(results["clips"]) < len(files) - 1 or len(results["clips"]) + len(results["errors"]) < len(
                files
            )
            shutil.rmtree(folder.parent)
    print(f"{faults} damaged clips, {lost} studies that lost more")  # noqa: T201
    assert not lost
