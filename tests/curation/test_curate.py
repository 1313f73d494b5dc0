"""An imbalanced store becomes more balanced, by so much; the same call gives the same bytes, interrupted or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from imbalanced_store import COMMON, FRAMES_PER_CLIP, RARE, write_imbalanced_store
from PIL import Image
from safetensors.numpy import load_file, save_file
from stored_rows import all_bytes

from echoapex.curation import curate as module
from echoapex.curation import frame_embedder
from echoapex.curation.balance import CurationRules
from echoapex.curation.curate import CurationPlan, curate
from echoapex.curation.frame_embedder import CurationError, FrameEmbedder
from echoapex.curation.report import CurationReport, as_csv
from echoapex.curation.selection import open_curated, read_selection
from echoapex.data.stores.frame_store import FrameStore

pytest.importorskip("lance", reason="Lance is not installed; it comes with the extra ingest")

CLIPS = 7
RULES = CurationRules(clusters=(6, 2))


class Silent:
    """Hears everything and remembers what began."""

    def __init__(self) -> None:
        self.began_with: dict[str, int] = {}
        self.done = 0

    def began(self, what: str, total: int) -> None:
        self.began_with[what] = total

    def advanced(self, count: int) -> None:
        self.done += count


@pytest.fixture(scope="module")
def embedder() -> FrameEmbedder:
    return FrameEmbedder.load("phantom", "cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imbalanced_store(tmp_path_factory.mktemp("imbalanced"))


@pytest.fixture(scope="module")
def curated(store: Path, embedder: FrameEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "first"
    curate(CurationPlan(str(store), out, RULES), embedder, Silent())
    return out


def read_report(folder: Path) -> CurationReport:
    return CurationReport.model_validate_json((folder / "curation.json").read_bytes())


def shares(report: CurationReport, what: str) -> Mapping[str, tuple[float, float]]:
    return {group.name: (group.before, group.after) for group in report.division(what).groups}


def test_the_rare_view_and_vendor_count_for_more(curated: Path) -> None:
    report = read_report(curated)
    view, vendor = shares(report, "view"), shares(report, "vendor")
    assert view[COMMON][0] > 0.8 > 0.2 > view[RARE][0]
    assert view[RARE][1] > 2 * view[RARE][0]
    assert vendor["ge"][1] > 1.5 * vendor["ge"][0]
    assert vendor["philips"][1] < vendor["philips"][0]
    for what in ("view", "vendor"):
        division = report.division(what)
        gap, gap_before = 2 - division.effective_after, 2 - division.effective_before
        assert gap < 0.5 * gap_before, what


def test_clusters_alone_come_out_more_even(curated: Path, store: Path, embedder: FrameEmbedder, tmp_path: Path) -> None:
    copytree(curated, tmp_path / "clusters")
    rules = CurationRules(clusters=(3,), balance=(), near_duplicate_bits=-1)
    division = curate(CurationPlan(str(store), tmp_path / "clusters", rules), embedder, Silent()).division("cluster")
    assert division.effective_before < 0.9 * 3
    assert division.effective_after == pytest.approx(3, abs=0.05)


def test_what_pretraining_is_given_is_what_the_tables_say(curated: Path, store: Path) -> None:
    frames, selection, report = FrameStore(store, "train"), read_selection(curated), read_report(curated)
    vendor = frames.columns("vendor")["vendor"]
    for name, (before, after) in shares(report, "vendor").items():
        assert (vendor == name).mean() == pytest.approx(before, abs=1e-5)
        assert selection.shares()[vendor == name].sum() == pytest.approx(after, abs=1e-5)
    reader = open_curated(frames, curated)
    place = int(np.flatnonzero(np.repeat(vendor[selection.rows], selection.visits) == "ge")[0])
    assert any(np.array_equal(reader.take([place])[0], frame) for frame in frames.take(np.flatnonzero(vendor == "ge")))
    assert report.most_weight <= RULES.most_weight + 1 / 16
    assert selection.visits.min() >= 16 / RULES.most_weight - 1


def test_a_clip_that_was_exported_twice_counts_once(curated: Path, store: Path) -> None:
    report, frames = read_report(curated), FrameStore(store, "train")
    assert report.clips == CLIPS + 1
    left_out = report.left_out.pop("copies of another clip")
    assert 0 < left_out <= FRAMES_PER_CLIP
    assert set(report.left_out.values()) == {0}
    missing = np.setdiff1d(np.arange(len(frames)), read_selection(curated).rows)
    assert len(missing) == left_out
    assert len(set(frames.columns("clip", rows=missing.tolist())["clip"])) == 1


def test_nothing_that_identifies_is_written_and_the_picture_is_one(curated: Path, store: Path) -> None:
    written = (curated / "curation.json").read_text() + (curated / "before_after.csv").read_text()
    frames = FrameStore(store, "train").columns("patient", "clip")
    assert not any(digest in written for digest in {*frames["patient"], *frames["clip"]})
    assert (curated / "before_after.csv").read_bytes() == as_csv(read_report(curated))
    assert written.count("view,A4C,") == 1
    with Image.open(curated / "before_after.png") as picture:
        assert picture.size[0] > 900


def test_the_same_call_gives_the_same_bytes(
    curated: Path, store: Path, embedder: FrameEmbedder, tmp_path: Path
) -> None:
    observer = Silent()
    curate(CurationPlan(str(store), tmp_path / "again", RULES), embedder, observer)
    assert all_bytes(tmp_path / "again") == all_bytes(curated)
    assert observer.began_with["embedding frames"] == observer.done == 2 * (CLIPS + 1)


def test_an_interrupted_embedding_goes_on_where_it_stopped(
    store: Path, embedder: FrameEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_embedder, "FRAMES_PER_SHARD", 5)
    asked: list[range] = []
    original = frame_embedder.ShardEmbedder.__call__

    def interrupted(self: frame_embedder.ShardEmbedder, places: range) -> dict[str, np.ndarray]:
        asked.append(places)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, places)

    monkeypatch.setattr(frame_embedder.ShardEmbedder, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        curate(CurationPlan(str(store), tmp_path / "cut", RULES), embedder, Silent())
    assert not (tmp_path / "cut" / "selection.safetensors").exists()
    shard = tmp_path / "cut" / "embedded" / "shard-000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    curate(CurationPlan(str(store), tmp_path / "cut", RULES), embedder, Silent())
    assert asked[3:] == [range(5, 10), range(10, 15), range(15, 16)]
    curate(CurationPlan(str(store), tmp_path / "whole", RULES), embedder, Silent())
    assert all_bytes(tmp_path / "cut") == all_bytes(tmp_path / "whole")


def test_another_balance_does_not_embed_again(
    curated: Path, store: Path, embedder: FrameEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "embed", None)
    before = read_report(curated)
    gentle = curate(CurationPlan(str(store), curated, CurationRules(most_weight=1.5)), embedder, Silent())
    assert gentle.division("view").effective_after < before.division("view").effective_after
    assert gentle.kish_frames > before.kish_frames
    kept = curate(
        CurationPlan(str(store), curated, RULES.model_copy(update={"near_duplicate_bits": -1})), embedder, Silent()
    )
    assert sum(kept.left_out.values()) == 0
    assert curate(CurationPlan(str(store), curated, RULES), embedder, Silent()) == before


def test_what_does_not_belong_together_is_refused(
    curated: Path, store: Path, embedder: FrameEmbedder, tmp_path: Path
) -> None:
    other = CurationRules(frames_per_clip=1)
    with pytest.raises(CurationError, match=r"holds a curation of another store.* choose another --out"):
        curate(CurationPlan(str(store), curated, other), embedder, Silent())
    with pytest.raises(CurationError, match="no frame is left; lower --least-quality"):
        strict = RULES.model_copy(update={"least_quality": 1.0})
        curate(CurationPlan(str(store), tmp_path / "strict", strict), embedder, Silent())


def test_blank_and_coloured_frames_are_left_out_by_their_reasons(
    store: Path, embedder: FrameEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curate(CurationPlan(str(store), tmp_path, RULES), embedder, Silent())
    (shard,) = (tmp_path / "embedded").glob("shard-*")
    arrays = load_file(shard)
    arrays["legibility"][[0, 1, 4]] = 0.0, 0.0, 0.1
    save_file(arrays, shard)
    choose = module.choose_sample

    def with_colour(*arguments: object) -> object:
        sample = choose(*arguments)  # type: ignore[arg-type]
        content = sample.about["content"]
        content.codes[:] = np.where(np.isin(np.arange(len(sample)), [0, 6, 7]), 1, 0)
        sample.about["content"] = type(content)(content.codes, ("b_mode", "colour_doppler"))
        return sample

    monkeypatch.setattr(module, "choose_sample", with_colour)
    rules = RULES.model_copy(update={"colour": False, "least_quality": 0.2})
    report = curate(CurationPlan(str(store), tmp_path, rules), embedder, Silent())
    each = FRAMES_PER_CLIP // 2
    assert report.left_out["nearly blank"] == 2 * each
    assert report.left_out["of low quality"] == each
    assert report.left_out["colour Doppler"] == 2 * each
    assert shares(report, "content")["colour_doppler"][1] == 0
    assert json.loads((tmp_path / "curation.json").read_text())["frames_visited"] < report.frames
