"""Corrections change the values that rest on them, survive a restart, and can be undone and done again."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from page_client import PageClient
from small_echo import FRAMES, SIZE

from echoapex.domain.corrections import ClipCorrection
from echoapex.serve.page.contours import mask_of_runs, run_lengths
from echoapex.serve.page.correction_schemas import Corrected
from echoapex.serve.page.corrections import StoredCorrection, spread_masks
from echoapex.vocabulary import Structure, View

Pages = Callable[..., PageClient]


def clips_of(page: PageClient) -> tuple[str, dict[str, Any]]:
    """The study, and its clips by view."""
    study = page.study()
    return study, {clip["view"]: clip for clip in page.get(f"/studies/{study}")["clips"]}


def mask_on(page: PageClient, place: str, frame: int, structure: str) -> np.ndarray:
    """The mask of a structure on a frame, as the page has it."""
    found = page.get(f"{place}/masks/{frame}")["structures"].get(structure)
    empty = np.zeros((SIZE, SIZE), bool)
    return mask_of_runs(found["counts"], (SIZE, SIZE)) if found else empty


def number(values: list[dict[str, Any]], name: str) -> float:
    return float(next(value["value"] for value in values if value["id"] == name))


def test_a_drawn_mask_is_kept_measured_undone_and_survives_a_restart(reviewed: PageClient, page: Pages) -> None:
    study, clips = clips_of(reviewed)
    place = f"/studies/{study}/clips/{clips['A4C']['clip']}"
    before = mask_on(reviewed, place, 3, "lv_cavity")
    drawn = np.zeros((SIZE, SIZE), bool)
    drawn[30:60, 40:60] = True
    told = reviewed.send("PUT", f"{place}/masks", {"frame": 3, "structure": "lv_cavity", "rle": run_lengths(drawn)})
    changed = Corrected.model_validate(told)
    assert changed.clip.corrected and changed.can_undo
    assert np.array_equal(mask_on(reviewed, place, 3, "lv_cavity"), drawn)
    assert changed.clip.volume_curve != clips["A4C"]["volume_curve"]
    assert any("corrected by a person" in note for note in changed.clip.notes)
    detail = reviewed.get(f"/studies/{study}")
    assert detail["original"]["clips"][0]["volume_curve"] == clips["A4C"]["volume_curve"]
    assert "corrected by a person: 1 of 2 clips" in detail["report"]["notes"]

    again = page()  # the same state: a restart
    assert np.array_equal(mask_on(again, place, 3, "lv_cavity"), drawn)
    undone = again.send("POST", f"/studies/{study}/undo")
    assert undone["undone"] == "LV cavity drawn on frame 3"
    assert (undone["can_undo"], undone["can_redo"]) == (False, True)
    assert undone["clip"]["volume_curve"] == clips["A4C"]["volume_curve"] and not undone["clip"]["corrected"]
    assert np.array_equal(mask_on(again, place, 3, "lv_cavity"), before)
    assert again.get(f"/studies/{study}")["report"] == detail["original"]
    redone = again.send("POST", f"/studies/{study}/redo")
    assert redone["clip"]["volume_curve"] == told["clip"]["volume_curve"]
    assert np.array_equal(mask_on(again, place, 3, "lv_cavity"), drawn)
    again.send("POST", f"/studies/{study}/redo", status=409)
    trail = again.get(f"/studies/{study}/audit")["entries"]
    assert [entry["what"] for entry in trail][-3:] == [
        "LV cavity drawn on frame 3", "undo: LV cavity drawn on frame 3", "redo: LV cavity drawn on frame 3",
    ]  # fmt: skip
    assert trail[-3]["after"] == {"outlined": {"3": {"lv_cavity": int(drawn.sum())}}}


def test_a_click_is_answered_and_its_mask_goes_through_the_clip(reviewed: PageClient) -> None:
    study, clips = clips_of(reviewed)
    place = f"/studies/{study}/clips/{clips['A4C']['clip']}"
    ask = {"frame": 2, "structure": "lv_cavity", "from_automatic": True}
    automatic = reviewed.send("POST", f"{place}/segment", ask)
    assert automatic["size"] == [SIZE, SIZE] and 0 < automatic["iou"] <= 1
    first = mask_of_runs(automatic["counts"], (SIZE, SIZE))
    rows, columns = np.nonzero(first)
    point = {"x": float(columns.mean()), "y": float(rows.max() - 1), "positive": False}
    answer = reviewed.send("POST", f"{place}/segment", {**ask, "clicks": [point]})
    clicked = mask_of_runs(answer["counts"], (SIZE, SIZE))
    assert not clicked[int(point["y"]), round(point["x"])]
    box = [float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())]
    assert sum(reviewed.send("POST", f"{place}/segment", {"frame": 2, "box": box})["counts"][1::2]) > 0
    reviewed.send("POST", f"{place}/segment", {"frame": 2}, status=422)
    reviewed.send("POST", f"{place}/segment", {"frame": 2, "clicks": [{"x": 9999, "y": 0}]}, status=422)

    reviewed.send("PUT", f"{place}/masks", {"frame": 2, "structure": "lv_cavity", "rle": answer["counts"]})
    found = reviewed.send("POST", f"{place}/propagate", {"frame": 2, "structure": "lv_cavity"})
    assert found["frames"] == FRAMES
    assert np.array_equal(mask_on(reviewed, place, 2, "lv_cavity"), clicked)
    stored = reviewed.parts.corrections.read(study, clips["A4C"]["clip"])
    assert all(Structure.LV_CAVITY in stored.correction.outlined_on(frame) for frame in range(FRAMES))
    reviewed.send("PUT", f"{place}/masks", {"frame": 9, "structure": "aortic_root", "contour": []})
    reviewed.send("POST", f"{place}/propagate", {"frame": 9, "structure": "aortic_root"}, status=422)


def test_propagation_leaves_what_a_person_drew_elsewhere() -> None:
    empty = np.zeros((4, 4), np.uint8)
    stored = StoredCorrection(ClipCorrection(clip_id="c"), {}, {})
    masks = np.zeros((10, 4, 4), bool)
    masks[:, 0] = True
    frames = dict.fromkeys(range(10), empty)
    first = spread_masks(stored, (2, Structure.LV_CAVITY), masks, frames)
    other = np.zeros((10, 4, 4), bool)
    other[:, 3] = True
    second = spread_masks(first, (8, Structure.LV_CAVITY), other, first.maps)
    rows = [int(np.nonzero(second.maps[frame])[0][0]) for frame in range(10)]
    assert rows == [0, 0, 0, 0, 0, 3, 3, 3, 3, 3]
    assert second.anchors == {"lv_cavity": [2, 8]}


def test_view_cycle_calibration_and_walls_are_corrected_and_taken_back(reviewed: PageClient) -> None:
    study, clips = clips_of(reviewed)
    plax = clips["PLAX"]["clip"]
    place = f"/studies/{study}/clips/{plax}"
    width = number(reviewed.get(f"/studies/{study}")["values"], "ivsd")
    half_mm = clips["PLAX"]["spacing"]["row_mm"] / 2
    scale = {"row_mm": half_mm, "column_mm": half_mm, "source": "ruler at the left"}
    told = reviewed.send("PATCH", place, {"calibration": scale})
    assert number(told["values"], "ivsd") == pytest.approx(width / 2)
    assert told["clip"]["spacing"] == {**scale, "source": "set by hand: ruler at the left"}
    ivsd = next(value for value in told["values"] if value["id"] == "ivsd")
    assert ivsd["original"] == pytest.approx(width) and ivsd["state"] == "open"
    told = reviewed.send("PATCH", place, {"calibration": None})
    assert number(told["values"], "ivsd") == pytest.approx(width)
    assert not told["clip"]["corrected"]

    told = reviewed.send("PATCH", place, {"ed_frames": [1], "es_frames": [6]})
    assert (told["clip"]["ed_frames"], told["clip"]["es_frames"]) == ([1], [6])
    points = {"septum_rv_side": [48, 30], "septum_lv_side": [48, 36], "posterior_wall_lv_side": [48, 60],
              "posterior_wall_epicardium": [48, 65]}  # fmt: skip
    told = reviewed.send("PUT", f"{place}/walls/1", {"points": points})
    assert number(told["values"], "ivsd") == pytest.approx(6 * clips["PLAX"]["spacing"]["row_mm"])
    told = reviewed.send("PATCH", place, {"view": "A4C"})
    assert told["clip"]["view"] == View.A4C and told["clip"]["view_probability"] == 1
    assert all(value["id"] != "ivsd" for value in told["values"])
    told = reviewed.send("PATCH", place, {"set_aside": True})
    assert told["clip"]["set_aside"] == "set aside by a person"
    row = reviewed.get("/studies")["studies"][0]
    assert row["views"] == {"A4C": 1} and row["reviewed"]
    for _ in range(6):
        reviewed.send("POST", f"/studies/{study}/undo")
    assert number(reviewed.get(f"/studies/{study}")["values"], "ivsd") == pytest.approx(width)
    reviewed.send("POST", f"/studies/{study}/undo", status=409)


def test_what_does_not_suit_a_clip_is_refused_and_changes_nothing(reviewed: PageClient) -> None:
    study, clips = clips_of(reviewed)
    place = f"/studies/{study}/clips/{clips['PLAX']['clip']}"
    wrong: list[tuple[str, str, Any]] = [
        ("PUT", "/masks", {"frame": 0, "structure": "lv_cavity", "rle": [5]}),
        ("PUT", "/masks", {"frame": 0, "structure": "lv_cavity"}),
        ("PUT", "/masks", {"frame": 0, "structure": "mitral_valve", "contour": []}),
        ("PUT", "/masks", {"frame": FRAMES, "structure": "lv_cavity", "contour": []}),
        ("PATCH", "", {"ed_frames": [500]}),
        ("PATCH", "", {"calibration": {"row_mm": 50, "column_mm": 50}}),
        ("PATCH", "", {"view": "A9C"}),
        ("PATCH", "", {}),
        ("PUT", "/walls/1", {"points": {"septum_rv_side": [1, 2]}}),
        ("POST", "/propagate", {"frame": 500, "structure": "lv_cavity"}),
        ("PUT", "/calipers", {"frame": 500, "from": [0, 0], "to": [1, 1]}),
    ]
    for method, end, body in wrong:
        told = reviewed.send(method, place + end, body, status=422)
        assert set(told) == {"detail"} and len(told["detail"]) > 20, (end, told)
    assert not reviewed.get(f"/studies/{study}")["can_undo"]
    reviewed.send("PUT", f"/studies/{study}/clips/clip-none/masks", {"frame": 0, "structure": "lv_cavity"}, status=404)


def test_calipers_measure_in_mm_where_the_clip_is_calibrated(reviewed: PageClient) -> None:
    study, clips = clips_of(reviewed)
    place = f"/studies/{study}/clips/{clips['PLAX']['clip']}/calipers"
    made = reviewed.send("PUT", place, {"frame": 1, "from": [10, 10], "to": [13, 14], "name": "septum"})
    assert made["mm"] == pytest.approx(5 * clips["PLAX"]["spacing"]["row_mm"], rel=1e-3)
    moved = reviewed.send("PUT", f"{place}/{made['id']}", {"frame": 1, "from": [10, 10], "to": [10, 10]})
    assert moved["id"] == made["id"] and moved["mm"] == 0
    assert reviewed.get(place)["calipers"] == [moved]
    reviewed.send("POST", f"/studies/{study}/undo")
    assert reviewed.get(place)["calipers"] == [made]
    reviewed.send("DELETE", f"{place}/{made['id']}", status=204)
    assert reviewed.get(place)["calipers"] == []
    reviewed.send("DELETE", f"{place}/{made['id']}", status=404)


def test_the_decoder_in_the_browser_gives_the_mask_of_the_server(reviewed: PageClient) -> None:
    study, clips = clips_of(reviewed)
    place = f"/studies/{study}/clips/{clips['A4C']['clip']}"
    content = reviewed.client.get(f"/api/v1{place}/embedding/2").content
    assert content.startswith(b"EAEMB1\n")
    (length,) = struct.unpack("<I", content[7:11])
    header = json.loads(content[11 : 11 + length])
    start, feeds = 11 + length, {}
    for tensor in header["tensors"]:
        count = math.prod(tensor["shape"])
        feeds[tensor["name"]] = np.frombuffer(content, "<f4", count, start).reshape(tensor["shape"])
        start += 4 * count
    assert start == len(content)
    card = reviewed.get("/decoder/card.json")
    answer = reviewed.client.get("/api/v1/decoder/model.onnx")
    again = reviewed.client.get("/api/v1/decoder/model.onnx", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert hashlib.sha256(answer.content).hexdigest() == card["sha256"]
    assert {one["name"] for one in card["inputs"]} >= set(feeds)
    side = card["mask_size"]
    prompt = {
        "point_coords": np.zeros((1, 1, 2), np.float32),
        "point_labels": np.full((1, 1), card["point_labels"]["padding"], np.int64),
        "structure": np.array([card["structures"]["lv_cavity"]], np.int64),
        "mask_input": np.zeros((1, 1, side, side), np.float32),
        "has_mask": np.zeros(1, np.float32),
    }
    shapes = {one["name"]: one for one in card["inputs"]}
    given = {name: np.asarray(value, shapes[name]["dtype"]) for name, value in {**feeds, **prompt}.items()}
    logits = onnxruntime.InferenceSession(answer.content).run(None, given)[0][0, 0]
    asked = reviewed.send("POST", f"{place}/segment", {"frame": 2, "structure": "lv_cavity", "from_automatic": True})
    native = mask_of_runs(asked["counts"], (SIZE, SIZE))
    matrix = np.array(header["square_from_native"])
    ys, xs = np.mgrid[:SIZE, :SIZE]
    square = np.stack([xs, ys, np.ones_like(xs)], -1) @ matrix.T
    low = np.clip(np.round((square[..., :2] - 0.5) / 2).astype(int), 0, side - 1)
    browser = logits[low[..., 1], low[..., 0]] > 0
    assert (browser == native).mean() > 0.99 and native.sum() > 50


def test_a_clip_whose_file_is_gone_says_so(reviewed: PageClient, tmp_path: Path) -> None:
    study, clips = clips_of(reviewed)
    names = tmp_path / "studies" / "results.names.json"
    names.unlink()
    reviewed.parts.results.keep(("names", study), dict)
    reviewed.parts.results._kept.clear()
    clip = clips["A4C"]["clip"]
    told = reviewed.send("PATCH", f"/studies/{study}/clips/{clip}", {"view": "A2C"}, status=404)
    assert told["detail"] == "the file of this clip is not where it was; put it back, or upload the study again"
