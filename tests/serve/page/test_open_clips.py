"""Clips stay open within their bounds, never close while they are used, and answer only with their own weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from page_client import PageClient

from echoapex.infer.review.recomputation import ReviewError
from echoapex.serve.page.open_clips import OpenClips
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.security import PageError


def test_the_clip_that_was_not_used_for_longest_is_closed(reviewed: PageClient) -> None:
    study, parts = reviewed.study(), reviewed.parts
    first, second = (clip["clip"] for clip in reviewed.get(f"/studies/{study}")["clips"])
    clips = OpenClips(PageLimits(open_clips=1), parts.models, parts.results, parts.inputs)
    with clips.using(study, first) as one:
        assert one.clip.frame_count > 0
        with clips.using(study, second):
            pass
        assert one.clip.frame_count > 0  # still in use
    with clips.using(study, second) as two:
        with pytest.raises(ReviewError, match="closed"):
            _ = one.clip.frame_count
        with clips.using(study, second) as same:
            assert same is two
    few_bytes = OpenClips(PageLimits(open_mb=1), parts.models, parts.results, parts.inputs)
    for clip in (first, second):
        with few_bytes.using(study, clip):
            pass
    assert list(few_bytes._open) == [(study, second)]
    few_bytes.forget()
    assert not few_bytes._open


def test_a_study_of_other_weights_is_not_corrected_with_these(reviewed: PageClient, tmp_path: Path) -> None:
    study = reviewed.study()
    clip = reviewed.get(f"/studies/{study}")["clips"][0]["clip"]
    results = tmp_path / "studies" / "results" / "results.json"
    content = json.loads(results.read_text())
    content["bundles"] = dict.fromkeys(content["bundles"], "0" * 64)
    results.write_text(json.dumps(content))
    reviewed.parts.results._kept.clear()
    told = reviewed.send("POST", f"/studies/{study}/clips/{clip}/segment", {"frame": 0, "structure": "lv_cavity"}, 409)
    assert "analysed with other weights (phantom)" in told["detail"]


def test_the_sites_own_set_is_current_until_it_is_taken_back(reviewed: PageClient) -> None:
    models = reviewed.parts.models
    with pytest.raises(ValueError, match="7"):
        models.switch(7)
    assert models.describe().site_version is None
    models.switch(None)
    assert reviewed.get("/session")["weights"] == {
        "name": "phantom", "note": "learned outlines from simulated hearts only", "site_version": None,
    }  # fmt: skip
    with pytest.raises(PageError, match="no such study"):
        reviewed.parts.results.state("0" * 16)
