"""Tables of a curation: how the frames of a store are distributed before and after."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from echoapex.config import Config
from echoapex.curation.balance import CurationRules, effective_number
from echoapex.curation.sample import Naming

_MANY = ("cluster", "clip", "patient")
CSV_COLUMNS = ("what", "group", "frames", "percent_before", "percent_after")


class Group(Config):
    """One group of frames: its size, and its share of all visits before and after the selection."""

    name: str
    frames: int
    before: float
    after: float


class Division(Config):
    """Distribution of the frames over the groups of one factor.

    ``effective_before`` and ``effective_after``: numbers of equally large groups with the same diversity.
    """

    what: str
    effective_before: float
    effective_after: float
    groups: tuple[Group, ...]


class CurationReport(Config):
    """``curation.json``.

    ``kish_frames`` is the effective sample size: the number of evenly weighted frames with the same information (Kish,
    1965).
    """

    report_version: str = "1"
    echoapex_version: str
    rules: CurationRules
    store_sha256: str
    weights: dict[str, str]
    frames: int
    clips: int
    embedded: int
    left_out: dict[str, int]
    frames_visited: int
    kish_frames: float
    most_weight: float
    clusters: tuple[int, ...]
    divisions: tuple[Division, ...]

    def division(self, what: str) -> Division:
        """The table of one factor.

        Raises:
            KeyError: there is none.
        """
        return {division.what: division for division in self.divisions}[what]


def divide(
    what: str, naming: Naming, before: Float[np.ndarray, "sampled"], after: Float[np.ndarray, "sampled"], frames: int
) -> Division:
    """Distribution of shares over groups, largest group first.

    Args:
        what: name of the factor.
        naming: group of each sampled frame.
        before: share of the store that each sampled frame represents, when all frames are visited equally often.
        after: its share by the selection.
        frames: of the store.
    """
    count = len(naming.words)
    shares = [np.bincount(naming.codes, share, minlength=count) for share in (before, after)]
    order = np.argsort(-shares[0], kind="stable")
    groups = tuple(
        Group(
            name=naming.words[group],
            frames=round(float(shares[0][group]) * frames),
            before=round(float(shares[0][group]), 6),
            after=round(float(shares[1][group]), 6),
        )
        for group in order
        if shares[0][group] > 0
    )
    effective = [round(effective_number(share), 3) for share in shares]
    return Division(what=what, effective_before=effective[0], effective_after=effective[1], groups=groups)


def divide_all(
    namings: Mapping[str, Naming],
    before: Float[np.ndarray, "sampled"],
    after: Float[np.ndarray, "sampled"],
    frames: int,
) -> tuple[Division, ...]:
    """The tables of several factors; clusters, clips and patients have too many groups to list."""
    divisions = [divide(what, naming, before, after, frames) for what, naming in namings.items()]
    return tuple(
        division.model_copy(update={"groups": ()}) if division.what in _MANY else division for division in divisions
    )


def as_csv(report: CurationReport) -> bytes:
    """The tables as one CSV: a line for each group."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for division in report.divisions:
        for group in division.groups:
            shares = (f"{100 * share:.3f}" for share in (group.before, group.after))
            writer.writerow([division.what, group.name, group.frames, *shares])
    return text.getvalue().encode()
