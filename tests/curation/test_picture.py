"""The picture grows with what it shows, shows what it is given, dark on white, and is the same for the same input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from echoapex.curation.balance import CurationRules
from echoapex.curation.picture import AFTER, BEFORE, SCALE, ClusterExample, draw_curation
from echoapex.curation.report import CurationReport, Division, Group


def report_of(views: int) -> CurationReport:
    groups = tuple(Group(name=f"view {n}", frames=10, before=1 / views, after=1 / views) for n in range(views))
    even = {"effective_before": 1.0, "effective_after": 1.0}
    divisions = [Division(what="view", groups=groups, **even)]
    divisions += [Division(what=what, groups=groups[:1], **even) for what in ("vendor", "quality")]
    return CurationReport(
        echoapex_version="0",
        rules=CurationRules(),
        store_sha256="",
        weights={},
        frames=10 * views,
        clips=1,
        embedded=1,
        left_out={"nearly blank": 0},
        frames_visited=10,
        kish_frames=10.0,
        most_weight=1.0,
        clusters=(2,),
        divisions=tuple(divisions),
    )


def examples(count: int) -> list[ClusterExample]:
    return [ClusterExample(np.full((64, 64), 200 + n, np.uint8), 0.5, 0.5) for n in range(count)]


def drawn(path: Path, views: int, tiles: int) -> np.ndarray:
    with Image.open(draw_curation(path, report_of(views), examples(tiles))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_it_grows_with_views_and_clusters(tmp_path: Path) -> None:
    few, many_views, many_tiles = (drawn(tmp_path / "a.png", *sizes) for sizes in ((2, 1), (18, 1), (2, 24)))
    assert few.shape[1] == many_views.shape[1] == many_tiles.shape[1]
    assert few.shape[0] < min(many_views.shape[0], many_tiles.shape[0])
    for number in range(24):
        assert ((many_tiles == 200 + number).all(axis=-1)).sum() > 60 * 60


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [draw_curation(tmp_path / name, report_of(3), examples(2)) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_it_is_dark_on_white_in_twice_its_size(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", 3, 1)
    assert (picture[:8] == 255).all() and (picture[-8:] == 255).all() and (picture[:, :8] == 255).all()
    assert (picture.min(axis=-1) > 250).mean() > 0.7, "ink is little"
    assert picture.shape[1] == SCALE * (picture.shape[1] // SCALE) > 2000
    tile = np.argwhere((picture == 200).all(axis=-1))
    assert (tile.max(axis=0) - tile.min(axis=0) + 1 >= SCALE * 130).all(), "frames are shown at full sharpness"


def test_both_bars_of_a_group_are_as_long_as_its_shares(tmp_path: Path) -> None:
    groups = (
        Group(name="A4C", frames=30, before=0.75, after=0.5),
        Group(name="ICE_HOME", frames=10, before=0.25, after=0.5),
    )
    report = report_of(1)
    view = report.divisions[0].model_copy(update={"groups": groups})
    draw_curation(tmp_path / "a.png", report.model_copy(update={"divisions": (view, *report.divisions[1:])}), [])
    with Image.open(tmp_path / "a.png") as picture:
        chart = np.asarray(picture.convert("RGB"))[:, SCALE * 152 : SCALE * 442]  # bars, without the numbers beside
    before, after = (set((chart == colour).all(axis=-1).sum(axis=1).tolist()) - {0} for colour in (BEFORE, AFTER))
    assert before == {SCALE * 290, SCALE * round(290 / 3)}, "the longest bar fills its place"
    assert round(290 * 2 / 3) * SCALE in after
