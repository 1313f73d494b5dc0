"""Whole runs: names, archives, refusals, resuming, the proof, and nothing of a patient anywhere."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deidentified import KEY, BrightBoxReader, fan_frames, method, write_fan
from header_canaries import DATE, MARK, ROOT, canaries_in, plant, write_planted
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification import run as running
from echoapex.io.deidentification.instance import Method
from echoapex.io.deidentification.profile import ProfileOption
from echoapex.io.deidentification.proof import Proof
from echoapex.io.deidentification.run import (
    OutputError,
    RunSummary,
    check_places,
    deidentify_files,
    write_names,
)
from echoapex.io.deidentification.text_search import TextSearchError
from echoapex.io.deidentify import FileNames


def names() -> FileNames:
    return FileNames(KEY.derive("names", ""))


def go(source: Path, out: Path, how: Method | None = None) -> RunSummary:
    return deidentify_files([source], out, how or method(), names())


def files_of(out: Path) -> list[Path]:
    return sorted(path.relative_to(out) for path in out.rglob("*.dcm"))


def proof_of(out: Path) -> Proof:
    return Proof.model_validate_json((out / "proof.json").read_bytes())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two patients, three clips, under names that tell who they are."""
    folder = tmp_path / "archive"
    for number, (patient, clip) in enumerate((("A", 1), ("A", 2), ("B", 1))):
        write_fan(
            folder / f"{MARK}^JANE {patient}" / f"{MARK} {clip}.dcm", PatientID=f"{MARK}{patient}",
            StudyInstanceUID=f"{ROOT}{patient == 'B':d}", SOPInstanceUID=f"{ROOT}7.{number}",
        )  # fmt: skip
    return folder


def test_new_names_group_by_patient_and_study_and_tell_nothing(study: Path, tmp_path: Path) -> None:
    summary = go(study, tmp_path / "out")

    assert (summary.written, summary.refused) == (3, [])
    found = files_of(tmp_path / "out")
    assert len({path.parts[0] for path in found}) == 2
    assert all(len(part.removesuffix(".dcm")) == 16 for path in found for part in path.parts)
    assert canaries_in(tmp_path / "out") == []


def test_every_canary_of_a_header_stays_behind(tmp_path: Path) -> None:
    source = tmp_path / f"{MARK} folder" / f"{DATE} {MARK}.dcm"
    dataset = dcmread(write_fan(tmp_path / "plain.dcm"))
    assert plant(dataset) > 500
    write_planted(source, dataset)
    assert canaries_in(source.parent)

    summary = go(source.parent, tmp_path / "out")

    assert summary.written == 1, summary.refused
    assert canaries_in(tmp_path / "out") == []


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.RLELossless], ids=["implicit", "rle"])
def test_canaries_of_other_encodings_stay_behind(syntax: str, tmp_path: Path) -> None:
    dataset = dcmread(write_fan(tmp_path / "plain.dcm"))
    plant(dataset)
    if syntax == uid.RLELossless:
        from echoapex.io.deidentification.pixels import _encode

        dataset.PixelData = encapsulate([_encode(frame) for frame in fan_frames()])
        dataset["PixelData"].is_undefined_length = True
    write_planted(tmp_path / "in" / "a.dcm", dataset, syntax)
    assert go(tmp_path / "in", tmp_path / "out").written == 1
    assert canaries_in(tmp_path / "out") == []


def test_the_same_key_gives_the_same_files(study: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        go(study, tmp_path / out)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    for path in files_of(tmp_path / "one"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_another_key_gives_other_names(study: Path, tmp_path: Path) -> None:
    go(study, tmp_path / "one")
    go(study, tmp_path / "two", replace(method(), key=replace(KEY, secret=bytes(32))))
    assert not set(files_of(tmp_path / "one")) & set(files_of(tmp_path / "two"))


def test_packed_files_are_cleaned_and_leave_nothing_unpacked(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "in" / f"{MARK}.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in study.rglob("*.dcm"):
            packed.write(path, path.relative_to(study))
    assert go(archive.parent, tmp_path / "out").written == 3
    assert canaries_in(tmp_path / "out") == []


@pytest.fixture
def mixed(study: Path) -> Path:
    (study / f"{MARK} broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + MARK.encode() * 9)
    (study / f"{MARK} empty.dcm").touch()
    (study / "notes.txt").write_text(MARK)
    Image.fromarray(fan_frames()[0]).save(study / f"{MARK}.png")
    write_fan(study / f"{MARK} ct.dcm", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    return study


def test_bad_files_are_refused_with_a_line_each_and_the_rest_goes_on(mixed: Path, tmp_path: Path) -> None:
    told: list[str] = []
    summary = deidentify_files([mixed], tmp_path / "out", method(), names(), lambda *line: told.append(" ".join(line)))

    assert summary.written == 3
    reasons = sorted(error.reason for error in summary.refused)
    assert len(reasons) == 4
    assert any(reason.startswith("is a still image, no DICOM") for reason in reasons)
    assert any(reason == "is empty" for reason in reasons)
    lines = [*map(str, summary.refused), *told]
    assert all("\n" not in line and MARK not in line for line in lines)
    assert {item.reason for item in proof_of(tmp_path / "out").refused} == set(reasons)
    assert canaries_in(tmp_path / "out") == []


def test_an_unexpected_error_is_one_line_without_its_text(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError(MARK)

    monkeypatch.setattr(running, "clean_instance", fail)
    summary = go(study, tmp_path / "out")
    assert {error.reason for error in summary.refused} == {"failed unexpectedly (KeyError)"}
    assert canaries_in(tmp_path / "out") == []


def test_a_full_disk_is_one_line_for_the_file(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device", f"/x/{MARK}")

    monkeypatch.setattr(running, "write_instance", fail)
    summary = go(study, tmp_path / "out")
    assert {error.reason for error in summary.refused} == {"cannot be processed (No space left on device)"}
    assert files_of(tmp_path / "out") == []


def test_a_failing_recogniser_stops_the_run(study: Path, tmp_path: Path) -> None:
    class Broken(BrightBoxReader):
        def find(self, picture: np.ndarray) -> list[Any]:
            raise TextSearchError("the search for burned-in text failed")

    with pytest.raises(TextSearchError):
        go(study, tmp_path / "out", method(reader=Broken()))
    assert files_of(tmp_path / "out") == []
    assert not proof_of(tmp_path / "out").complete


class InterruptedReader(BrightBoxReader):
    """Ctrl-C, or SIGTERM, after some pictures."""

    def find(self, picture: np.ndarray) -> list[Any]:
        if len(self.seen) > 10:
            raise KeyboardInterrupt
        return super().find(picture)


def test_an_interrupted_run_is_completed_by_the_same_command(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        go(study, out, method(reader=InterruptedReader()))
    first = files_of(out)
    assert 0 < len(first) < 3
    assert not proof_of(out).complete
    assert not list(out.rglob("*.partial"))
    times = {path: (out / path).stat().st_mtime_ns for path in first}

    summary = go(study, out)

    assert (summary.done_before, summary.written) == (len(first), 3 - len(first))
    assert times == {path: (out / path).stat().st_mtime_ns for path in first}
    assert proof_of(out).complete
    go(study, tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")


def test_files_of_a_killed_run_are_removed(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(study, out)
    left = out / files_of(out)[0].parent / ".x.dcm.999999999.partial"
    left.touch()
    go(study, out)
    assert not left.exists()


@pytest.mark.parametrize("change", ["file", "record", "settings"])
def test_what_is_missing_or_was_made_otherwise_is_made_again(change: str, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(study, out)
    how = method()
    if change == "file":
        (out / files_of(out)[0]).unlink()
    elif change == "record":
        next((out / "records").iterdir()).write_text("{}")
    else:
        how = method(ProfileOption.MODIFIED_DATES)
    summary = go(study, out, how)
    assert summary.written == (3 if change == "settings" else 1)


def test_files_of_another_key_in_the_folder_are_named(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(study, out)
    summary = go(study, out, replace(method(), key=replace(KEY, secret=bytes(32))))
    assert {error.reason for error in summary.refused} == {"is in OUT, made with another key or other options"}
    assert len(summary.refused) == len(proof_of(out).files) == 3


def test_the_proof_says_what_was_done_and_nothing_of_the_source(study: Path, tmp_path: Path) -> None:
    marked = fan_frames()
    marked[:, 60:66, 70:90] = 254
    write_fan(study / "text.dcm", marked)
    go(study, tmp_path / "out", method(ProfileOption.MODIFIED_DATES))

    proof = proof_of(tmp_path / "out")

    assert proof.settings.method_codes.keys() == {"113100", "113101", "113107"}
    assert proof.settings.standard.startswith("DICOM PS3.15 table E.1-1, Basic Profile of edition 2026c")
    assert len(proof.files) == 4
    (found,) = [place for record in proof.files for place in record.pixels.texts_blanked_in_kept_area]
    assert (found.left, found.top, found.width, found.height) == (70, 60, 20, 6)
    record = proof.files[0]
    assert record.header["replaced by a keyed UID"] == dict.fromkeys(
        ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"), 1
    )
    assert record.pixels.kept_areas == {"fan in a 2D region": 1}
    assert record.identifying_values_sought >= 5
    page = (tmp_path / "out" / "proof.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert "not searched" not in page.lower()


def test_the_picture_of_the_proof_shows_no_blanked_pixel(study: Path, tmp_path: Path) -> None:
    import base64
    import io

    frames = fan_frames()
    frames[:, 4:10, 4:40] = 255  # a name in the corner
    write_fan(tmp_path / "in" / "a.dcm", frames)
    go(tmp_path / "in", tmp_path / "out")
    (record,) = proof_of(tmp_path / "out").files
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(record.picture_png))))
    assert {tuple(pixel) for pixel in picture[:16, :48].reshape(-1, 3)} == {(105, 105, 105)}


def test_a_proof_without_a_search_says_so(study: Path, tmp_path: Path) -> None:
    go(study, tmp_path / "out", replace(method(), reader=None))
    assert proof_of(tmp_path / "out").settings.text_search.startswith("NOT searched")
    assert "not searched" in (tmp_path / "out" / "proof.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("source", "out"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_results_never_lie_in_a_source(source: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OutputError, match="inside each other"):
        check_places([tmp_path / source], tmp_path / out)


def test_the_secrets_never_lie_in_the_results(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="must not lie in OUT"):
        check_places([tmp_path / "in"], tmp_path / "out", [tmp_path / "out" / "my.key"])


def test_the_names_lead_back_and_are_for_their_owner_only(mixed: Path, tmp_path: Path) -> None:
    called = names()
    summary = deidentify_files([mixed], tmp_path / "out", method(), called)
    write_names(tmp_path / "out.names.json", called)
    content = json.loads((tmp_path / "out.names.json").read_text())["files"]
    assert {error.path for error in summary.refused} <= content.keys()
    assert any(MARK in place for place in content.values())
    assert stat.S_IMODE((tmp_path / "out.names.json").stat().st_mode) == 0o600


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No run prints anything, least of all a canary."""
    yield
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_a_missing_source_is_one_refused_file(tmp_path: Path) -> None:
    summary = go(tmp_path / MARK, tmp_path / "out")
    (error,) = summary.refused
    assert isinstance(error, ReadError)
    assert MARK not in str(error)
