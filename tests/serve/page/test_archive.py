"""The map of the archive over HTTP: points, neighbours, features, and the study to correct next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_client import API, PageClient

from echoapex.serve.page.archive import Archive

Page = Callable[..., PageClient]


@pytest.fixture
def clips(reviewed: PageClient) -> list[dict[str, str]]:
    """The points of the map of one study with two clips."""
    found = reviewed.get("/explore/map")
    assert found["pending"] == 0
    return list(found["points"])


def test_every_clip_is_a_point(reviewed: PageClient, clips: list[dict[str, object]]) -> None:
    study = reviewed.study()
    detail = reviewed.get(f"/studies/{study}")
    shown = {clip["clip"]: clip["view"] for clip in detail["clips"] if not clip["set_aside"]}
    assert {clip["clip"]: clip["view"] for clip in clips} == shown
    assert {clip["study"] for clip in clips} == {study}
    assert all(clip["ef_percent"] == detail["study"]["ef_percent"] for clip in clips)
    assert len({(clip["x"], clip["y"]) for clip in clips}) == len(clips)


def test_neighbours_are_the_other_clips(reviewed: PageClient, clips: list[dict[str, str]]) -> None:
    own = clips[0]
    found = reviewed.get(f"/explore/neighbours/{own['study']}/{own['clip']}?count=5")["neighbours"]
    assert [one["clip"] for one in found] == [clip["clip"] for clip in clips[1:]]
    assert all(0 <= one["distance"] <= 2 for one in found)
    assert "not on the map" in reviewed.get(f"/explore/neighbours/{own['study']}/none", 404)["detail"]
    reviewed.get(f"/explore/neighbours/{'0' * 16}/none", 404)
    reviewed.get(f"/explore/neighbours/{own['study']}/{own['clip']}?count=0", 422)


def test_features_are_a_picture_in_native_size(reviewed: PageClient, clips: list[dict[str, str]]) -> None:
    own = clips[0]
    answer = reviewed.client.get(f"{API}/explore/features/{own['study']}/{own['clip']}/2")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    clip = next(clip for clip in reviewed.get(f"/studies/{own['study']}")["clips"] if clip["clip"] == own["clip"])
    assert list(image.shape) == [*clip["size"], 4]
    assert (image[..., 3] == 0).any(), "clear outside the sector"
    assert len(np.unique(image[image[..., 3] == 255][:, :3], axis=0)) > 20
    reviewed.get(f"/explore/features/{own['study']}/{own['clip']}/9999", 404)


def test_vectors_are_kept(page: Page, reviewed: PageClient, clips: list[dict[str, str]], tmp_path: Path) -> None:
    kept = list((tmp_path / "state" / "cache").glob("*/*.vector.npz"))
    assert len(kept) == len(clips)
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    again = page(studies=str(tmp_path / "studies")).get("/explore/map")
    assert again["points"] == clips
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps, "read, not computed again"


def test_umap_says_how_to_get_it_where_it_is_not_installed(reviewed: PageClient) -> None:
    answer = reviewed.client.get(f"{API}/explore/map?method=umap")
    if answer.status_code == 409:
        assert answer.json()["detail"].startswith("umap-learn is not installed; pip install 'echoapex[explore]'")
    else:
        assert answer.status_code == 200
    reviewed.get("/explore/map?method=tsne", 422)


def test_a_study_that_nobody_corrected_is_proposed(reviewed: PageClient, clips: list[dict[str, str]]) -> None:
    (found,) = reviewed.get("/learning")["next_best"]
    assert found["study"] == clips[0]["study"]
    assert found["label"].startswith("Study ")
    assert 0 <= found["score"] <= 1
    assert found["reason"]


def test_an_empty_archive_has_an_empty_map(page: Page) -> None:
    assert page().get("/explore/map") == {"points": [], "pending": 0}


def test_a_request_reads_few_studies_and_the_thread_reads_the_others(
    reviewed: PageClient, clips: list[dict[str, str]], tmp_path: Path
) -> None:
    parts = reviewed.parts
    fresh = Archive(
        tmp_path / "state" / "cache", parts.studies, parts.results, parts.inputs,
        lambda: parts.archive.embedder, threading.Event(),
    )  # fmt: skip
    assert fresh.studies(0) == ([], 1)
    assert fresh.clips()[1] == len(clips), "read, but not encoded as long as no thread works"
    fresh.start()
    try:
        found, missing = fresh.clips(patience_s=30)
    finally:
        fresh.close()
    assert (len(found), missing) == (len(clips), 0)
