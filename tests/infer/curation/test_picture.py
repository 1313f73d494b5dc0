"""The picture grows with what it shows, shows the frames that it is given, and is the same for the same input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from echoapex.data.curation.report import CurationReport, Division, Group
from echoapex.data.curation.rules import CurationRules
from echoapex.infer.curation.picture import ClusterExample, draw_curation


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
