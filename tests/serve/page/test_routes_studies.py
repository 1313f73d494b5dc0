"""Studies on the list: taken over, uploaded, analysed, filtered, renamed, deleted, and shown with all their parts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from page_client import PageClient
from PIL import Image
from small_echo import FRAMES, SIZE, write_small_study

from echoapex.domain import StudyReport
from echoapex.serve.page.schemas import StudyDetail
from echoapex.vocabulary import View

Pages = Callable[..., PageClient]


def test_results_are_taken_over_with_everything_that_they_hold(reviewed: PageClient, analysed_study: Path) -> None:
    study = reviewed.study()
    row = reviewed.get("/studies")["studies"][0]
    assert row["label"] == "Study 1"
    assert row["views"] == {"A4C": 1, "PLAX": 1}
    assert row["clips"] == row["clips_done"] == 2
    found = reviewed.get(f"/studies/{study}")
    detail = StudyDetail.model_validate(found)
    assert detail.report == StudyReport.model_validate_json((analysed_study / "results" / "results.json").read_bytes())
    assert detail.original == detail.report
    assert [clip.label for clip in detail.clips] == ["Clip 1", "Clip 2"]
    ids = [value.id for value in detail.values]
    assert len(ids) == len(set(ids))
    assert {"lvef", "ivsd", f"ivsd@{detail.clips[1].clip}"} <= set(ids)
    ef = next(value for value in detail.values if value.id == "lvef")
    assert (ef.value, ef.unit, ef.state, ef.original) == (detail.report.ef.value, "%", "open", None)
    assert row["ef_percent"] == ef.value
    assert ef.evidence[0].clip_id == detail.clips[0].clip
    mass = next(value for value in detail.values if value.id == "rwt")
    assert mass.limits is not None and mass.limits.high == 0.42 and "ASE" in mass.limits.source
    for clip in detail.clips:
        assert len(clip.frame_times_s) == clip.frames == FRAMES
        assert clip.size == (SIZE, SIZE)
        assert clip.spacing is not None and clip.spacing.source == "SequenceOfUltrasoundRegions"
        assert clip.masked_frames == list(range(FRAMES))
        assert clip.sector and clip.has_input


def test_the_ecg_of_a_clip_is_told_on_the_time_of_its_frames(reviewed: PageClient, analysed_study: Path) -> None:
    study = reviewed.study()
    traced, silent = StudyDetail.model_validate(reviewed.get(f"/studies/{study}")).clips
    stored = StudyReport.model_validate_json((analysed_study / "results" / "results.json").read_bytes()).clips[0]
    assert traced.ecg is not None and stored.ecg is not None
    assert traced.ecg.values == list(stored.ecg.values)
    assert len(traced.ecg.times_s) == len(traced.ecg.values) > 100
    assert (traced.ecg.unit, traced.ecg.origin, traced.r_wave_source) == ("mV", "waveform", "ecg_trace")
    end = traced.frame_times_s[-1] + traced.frame_times_s[1]
    assert traced.ecg.times_s[0] >= 0 and traced.ecg.times_s[-1] <= end
    peak = traced.ecg.times_s[int(np.argmax(traced.ecg.values))]
    assert min(abs(time - peak) for time in traced.r_wave_times_s) < 0.02
    assert (silent.ecg, silent.r_wave_source, silent.r_wave_times_s) == (None, None, [])


def test_a_cine_holds_the_frames_without_what_lies_outside_the_sector(reviewed: PageClient) -> None:
    study = reviewed.study()
    clip = reviewed.get(f"/studies/{study}")["clips"][0]
    place = f"/api/v1/studies/{study}/clips/{clip['clip']}/cine"
    answer = reviewed.client.get(place, params={"width": 64})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"].startswith("private")
    content = answer.content
    assert content[:8] == b"EACINE1\n"
    (length,) = struct.unpack("<I", content[8:12])
    header = json.loads(content[12 : 12 + length])
    assert (header["frames"], header["width"], header["height"]) == (FRAMES, 64, 64)
    assert header["times_s"] == clip["frame_times_s"]
    pictures = content[12 + length :]
    assert header["offsets"][-1] == len(pictures)
    first = np.asarray(Image.open(BytesIO(pictures[: header["offsets"][1]])))
    assert first.shape == (64, 64, 3)
    assert first[:, 30:34].max() > 40  # tissue
    assert first[:8, :8].max() < 12 and first[:8, -8:].max() < 12  # above the sides of the fan
    again = reviewed.client.get(place, params={"width": 64}, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    picture = reviewed.client.get(f"/api/v1/studies/{study}/clips/{clip['clip']}/thumbnail")
    assert picture.headers["content-type"] == "image/webp"
    assert Image.open(BytesIO(picture.content)).size == (240, 180)


def test_contours_and_run_lengths_are_those_of_the_masks(reviewed: PageClient, analysed_study: Path) -> None:
    study = reviewed.study()
    clip = reviewed.get(f"/studies/{study}")["clips"][0]["clip"]
    with np.load(analysed_study / "results" / "masks" / f"{clip}.npz") as stored:
        labels = stored["labels"][3]
    drawn = reviewed.get(f"/studies/{study}/clips/{clip}/contours")["structures"]["lv_cavity"]["3"][0]
    rows, columns = np.nonzero(labels == 1)
    xs, ys = np.array(drawn).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (columns.min(), columns.max(), rows.min(), rows.max())
    masks = reviewed.get(f"/studies/{study}/clips/{clip}/masks/3")
    assert masks["size"] == [SIZE, SIZE]
    counts = masks["structures"]["lv_cavity"]["counts"]
    flat = np.repeat(np.arange(len(counts)) % 2, counts).reshape(SIZE, SIZE, order="F")
    assert np.array_equal(flat == 1, labels == 1)
    assert reviewed.get(f"/studies/{study}/clips/{clip}/masks/999")["structures"] == {}


def test_uploads_become_studies_by_the_study_that_they_name(page: Pages, tmp_path: Path) -> None:
    opened = page()
    first = write_small_study(tmp_path / "first", 1)
    second = write_small_study(tmp_path / "second", 2, (View.A2C,))
    text = tmp_path / "notes.txt"
    text.write_text("no clip")
    taken = opened.upload([*first, text, *second, *first])
    assert len(taken["studies"]) == 2
    assert [(one["file"], one["index"]) for one in taken["refused"]] == [("file 2", 1)]
    assert "no format" in taken["refused"][0]["reason"]
    rows = opened.when_ready(2)
    assert [row["state"] for row in rows] == ["ready", "ready"]
    assert {tuple(row["views"]) for row in rows} == {("PLAX",), ("A2C",)}
    kept = sorted(path.name for path in (tmp_path / "state" / "inputs").rglob("*.dcm"))
    assert len(kept) == 2 and all(len(name) == 36 for name in kept)
    assert [row["label"] for row in opened.get("/studies?sort=name")["studies"]] == ["Study 1", "Study 2"]
    assert opened.get("/studies?view=A2C")["total"] == 1
    assert opened.get("/studies?view=A3C")["total"] == 0
    assert opened.get("/studies?flag=incomplete_beat")["total"] == 1
    assert opened.get("/studies?query=dy%202")["studies"][0]["label"] == "Study 2"
    assert opened.get("/studies?query=%25")["total"] == 0  # a wildcard is a letter
    assert opened.get("/studies?limit=1&offset=1")["studies"] == opened.get("/studies")["studies"][1:]


def test_a_study_is_renamed_and_deleted(reviewed: PageClient, tmp_path: Path) -> None:
    study = reviewed.study()
    assert reviewed.send("PATCH", f"/studies/{study}", {"label": " Trial  7 "})["label"] == "Trial 7"
    reviewed.send("PATCH", f"/studies/{study}", {"label": "\u202e"}, status=422)
    assert reviewed.get("/studies?query=trial")["total"] == 1
    reviewed.send("DELETE", f"/studies/{study}", status=204)
    assert reviewed.get("/studies")["total"] == 0
    reviewed.get(f"/studies/{study}", status=404)
    assert (tmp_path / "studies" / "results" / "results.json").is_file()  # what the page did not write stays


def test_what_cannot_be_analysed_says_why_and_is_tried_again(page: Pages) -> None:
    opened = page()
    blank = BytesIO()
    Image.new("L", (64, 64)).save(blank, format="png")
    (study,) = opened.upload([("cut.avi", b"RIFF\x10\x00\x00\x00AVI LIST")])["studies"]
    row = opened.when_ready(1)[0]
    assert row["state"] == "failed" and "no clip could be analysed" in row["error"]
    assert "cut.avi" not in row["error"]
    assert (
        opened.get(f"/studies/{study}", status=409)["detail"] == "the study is not analysed yet; wait until it is ready"
    )
    assert opened.send("POST", f"/studies/{study}/retry")["state"] in ("queued", "analysing", "failed")
