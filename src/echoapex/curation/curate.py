"""Curates a frame store: embed a sample of frames, cluster it, leave out useless frames, weight the others, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.curation.balance import CurationRules, even_out, share_by_clusters
from echoapex.curation.clusters import Hierarchy, build_hierarchy
from echoapex.curation.frame_embedder import CurationError, EmbeddingShards, FrameEmbedder, ShardEmbedder
from echoapex.curation.picture import MOST_EXAMPLES, PICTURE_FILE, ClusterExample, draw_curation
from echoapex.curation.report import CurationReport, as_csv, divide_all
from echoapex.curation.sample import FrameSample, Naming, choose_sample, mark_copies
from echoapex.curation.selection import Selection, count_visits, write_selection
from echoapex.data.stores.frame_reader import EVEN_VISITS
from echoapex.data.stores.frame_store import FrameStore
from echoapex.domain import ContentKind
from echoapex.domain.results import LEAST_VIEW
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.version import __version__
from echoapex.vocabulary import View

REPORT_FILE, TABLE_FILE = "curation.json", "before_after.csv"
QUALITY_GRADES = ("poor", "fair", "good")
"""Thirds of the quality, which is the weaker of legibility and certainty of the view, as in an analysis."""
UNRECOGNISED = "unrecognised"
_REPORTED = ("view", "vendor", "quality", "probe", "content", "cluster", "clip", "patient")


class Observer(Protocol):
    """Receives the progress of a curation."""

    def began(self, what: str, total: int) -> None:
        """A part of the work begins; ``total`` is its number of items, 0 if unknown."""

    def advanced(self, count: int) -> None:
        """``count`` more items of this part are done."""


@dataclass(frozen=True)
class CurationPlan:
    """What to curate, and how.

    Attributes:
        store: folder or URL of the frame store; its training patients are curated.
        out: folder of what is written.
        rules: sampling, filters and balance.
    """

    store: str
    out: Path
    rules: CurationRules


@dataclass(frozen=True, eq=False)
class _FrameEstimates:
    """Estimates for the sampled frames: view, legibility and quality by the models, hashes from the store."""

    view: Naming
    legibility: Float[np.ndarray, "sampled"]
    quality: Float[np.ndarray, "sampled"]
    hashes: UInt8[np.ndarray, "sampled 32"]


@dataclass(frozen=True, eq=False)
class _Findings:
    """All that is known about the sampled frames, and which are left out for which reason."""

    sample: FrameSample
    hierarchy: Hierarchy
    namings: Mapping[str, Naming]
    left_out: Mapping[str, Bool[np.ndarray, "sampled"]]

    @property
    def kept(self) -> Bool[np.ndarray, "sampled"]:
        kept: Bool[np.ndarray, "sampled"] = ~np.any(list(self.left_out.values()), axis=0)
        return kept


def curate(plan: CurationPlan, embedder: FrameEmbedder, observer: Observer) -> CurationReport:
    """Curate a store. The same call continues an interrupted curation.

    The same store, weights and rules give the same bytes on the same machine.

    Args:
        plan: what to curate, and how.
        embedder: computes features and views of frames.
        observer: receives the progress.

    Raises:
        CurationError: there are no frames, none is left, or ``out`` holds another curation.
        StoreError: the store cannot be read.
        OSError: ``out`` cannot be written to.
    """
    store, rules = FrameStore(plan.store, split="train"), plan.rules
    if not len(store):
        raise CurationError(f"{plan.store}: holds no frames of training patients; ingest an archive into it first")
    observer.began("reading the store", 0)
    sample = choose_sample(store, rules.frames_per_clip)
    shards = EmbeddingShards(plan.out, _identity(sample, rules, embedder), len(sample))
    observer.began("embedding frames", len(sample))
    shards.complete(ShardEmbedder(store, sample, embedder), observer.advanced)
    observer.began("clustering", 0)
    hierarchy = build_hierarchy(shards.feature_blocks, len(sample), rules.clusters, rules.seed)
    observer.began("balancing", 0)
    estimates = _read_estimates(shards, sample)
    namings = {
        **sample.about,
        "view": estimates.view,
        "quality": _grades(estimates.quality),
        "cluster": _numbered(hierarchy),
    }
    found = _Findings(sample, hierarchy, namings, _leave_out(sample, estimates, rules))
    if not found.kept.any():
        raise CurationError(f"{plan.store}: no frame is left; lower --least-quality, or check what was ingested")
    selection = _select(_weigh(found, rules), sample, rules.seed)
    report = _report(found, rules, selection, embedder)
    _write(plan.out, report, selection, _examples(store, found, selection))
    return report


def _identity(sample: FrameSample, rules: CurationRules, embedder: FrameEmbedder) -> dict[str, object]:
    return {"store_sha256": sample.store_sha256, "frames_per_clip": rules.frames_per_clip, "weights": embedder.digests}


def _read_estimates(shards: EmbeddingShards, sample: FrameSample) -> _FrameEstimates:
    view, certainty = _views(shards.read("views"), sample)
    legibility = shards.read("legibility")
    return _FrameEstimates(view, legibility, np.minimum(legibility, certainty), shards.read("hashes"))


def _views(
    probabilities: Float[np.ndarray, "sampled views"], sample: FrameSample
) -> tuple[Naming, Float[np.ndarray, "sampled"]]:
    """View and its probability for each frame, from the mean probabilities over the sampled frames of its clip."""
    clip = sample.about["clip"].codes
    summed = np.zeros((clip.max() + 1, probabilities.shape[1]))
    np.add.at(summed, clip, probabilities)
    mean = summed / np.bincount(clip)[:, None]
    codes = np.where(mean.max(axis=1) < LEAST_VIEW, len(View), mean.argmax(axis=1))
    return Naming(codes[clip], (*(str(view) for view in View), UNRECOGNISED)), mean.max(axis=1)[clip]


def _grades(quality: Float[np.ndarray, "sampled"]) -> Naming:
    grades = len(QUALITY_GRADES)
    return Naming(np.minimum((quality * grades).astype(int), grades - 1), QUALITY_GRADES)


def _numbered(hierarchy: Hierarchy) -> Naming:
    return Naming(hierarchy.labels, tuple(str(number) for number in range(hierarchy.counts[0])))


def _leave_out(
    sample: FrameSample, estimates: _FrameEstimates, rules: CurationRules
) -> dict[str, Bool[np.ndarray, "sampled"]]:
    """Which frames are left out, each by the first reason that applies."""
    clip, content = sample.about["clip"].codes, sample.about["content"]
    is_colour = np.array([word == ContentKind.COLOUR_DOPPLER for word in content.words])[content.codes]
    left_out = {
        "nearly blank": estimates.legibility <= 0,
        "of low quality": estimates.quality < rules.least_quality,
        "colour Doppler": is_colour & (not rules.colour),
    }
    kept = np.ones(len(sample), bool)
    for reason, out in left_out.items():
        left_out[reason] = out & kept
        kept &= ~out
    good = np.flatnonzero(kept)
    copies = good[mark_copies(estimates.hashes[good], clip[good], rules.near_duplicate_bits)]
    return {**left_out, "copies of another clip": np.isin(np.arange(len(sample)), copies)}


def _weigh(found: _Findings, rules: CurationRules) -> Float[np.ndarray, "sampled"]:
    """Sampling weight of each sampled frame and the frames it represents: 1 is even, 0 is never."""
    stands_for = found.sample.stands_for * found.kept
    even = stands_for / stands_for.sum()
    shares = share_by_clusters(found.hierarchy, even, rules.most_weight)
    shares = even_out(shares, even, [found.namings[factor].codes for factor in rules.balance], rules.most_weight)
    weights: Float[np.ndarray, "sampled"] = np.divide(shares, even, out=np.zeros(len(even)), where=even > 0)
    return weights


def _select(weights: Float[np.ndarray, "sampled"], sample: FrameSample, seed: int) -> Selection:
    visits = count_visits(weights[sample.representative], seed)
    rows = np.flatnonzero(visits)
    return Selection(rows, visits[rows].astype(np.uint16), len(visits), sample.store_sha256)


def _shares(sample: FrameSample, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Share of the store, and of the selection, that each sampled frame represents."""
    before = sample.stands_for / sample.stands_for.sum()
    return before, np.bincount(sample.representative, selection.shares(), minlength=len(sample))


def _report(found: _Findings, rules: CurationRules, selection: Selection, embedder: FrameEmbedder) -> CurationReport:
    sample, shares = found.sample, selection.shares()
    namings = {what: found.namings[what] for what in _REPORTED}
    return CurationReport(
        echoapex_version=__version__,
        rules=rules,
        store_sha256=sample.store_sha256,
        weights=embedder.digests,
        frames=selection.frames,
        clips=len(sample.about["clip"].words),
        embedded=len(sample),
        left_out={reason: int(sample.stands_for @ out) for reason, out in found.left_out.items()},
        frames_visited=len(selection.rows),
        kish_frames=round(float(1 / (shares**2).sum()), 1),
        most_weight=float(selection.visits.max()) / EVEN_VISITS,
        clusters=found.hierarchy.counts,
        divisions=divide_all(namings, *_shares(sample, selection), selection.frames),
    )


def _examples(store: FrameStore, found: _Findings, selection: Selection) -> list[ClusterExample]:
    """The most typical frames of the largest clusters, largest first."""
    hierarchy = found.hierarchy
    before, after = (np.bincount(hierarchy.labels, share) for share in _shares(found.sample, selection))
    largest = np.argsort(-before, kind="stable")[:MOST_EXAMPLES]
    frames = store.take(found.sample.rows[hierarchy.typical[largest]].tolist())
    return [
        ClusterExample(pixels, float(before[cluster]), float(after[cluster]))
        for pixels, cluster in zip(frames, largest, strict=True)
    ]


def _write(out: Path, report: CurationReport, selection: Selection, examples: Sequence[ClusterExample]) -> None:
    write_bytes_atomically(out / REPORT_FILE, (report.model_dump_json(indent=1) + "\n").encode())
    write_bytes_atomically(out / TABLE_FILE, as_csv(report))
    draw_curation(out / PICTURE_FILE, report, examples)
    write_selection(out, selection)
