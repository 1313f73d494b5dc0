from __future__ import annotations

from pathlib import Path

from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.files import Manifest, earlier_files, library_versions, remove_outdated, write_manifest


def a_manifest(*files: str) -> Manifest:
    return Manifest(
        complete=True,
        bundle="b",
        weights_sha256={},
        device="cpu",
        options=AnalysisOptions(),
        inputs=1,
        clips_analysed=0,
        clips_set_aside=0,
        clips_reused=0,
        files_failed=0,
        started="2020-01-01T00:00:00+00:00",
        seconds=1.0,
        files=files,
    )


def test_files_of_an_earlier_run_are_remembered(tmp_path: Path) -> None:
    assert earlier_files(tmp_path) == ()
    write_manifest(tmp_path, a_manifest("masks/a.npz"))
    assert earlier_files(tmp_path) == ("masks/a.npz",)
    (tmp_path / "manifest.json").write_text("{broken")
    assert earlier_files(tmp_path) == ()


def test_only_outdated_files_of_clips_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("masks/old.npz", "masks/kept.npz", "notes.txt", "masks/mine.npz"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    (tmp_path / "outside.txt").touch()
    remove_outdated(out, ["masks/old.npz", "masks/kept.npz", "notes.txt", "../outside.txt"], ["masks/kept.npz"])
    assert not (out / "masks/old.npz").exists()
    assert (out / "masks/kept.npz").exists()
    assert (out / "masks/mine.npz").exists()
    assert (out / "notes.txt").exists()
    assert (tmp_path / "outside.txt").exists()


def test_versions_of_what_numbers_depend_on_are_known() -> None:
    assert {"torch", "numpy", "pydicom"} <= set(library_versions())
