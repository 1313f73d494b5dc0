"""Checks of splits: official names only, the published numbers, and no patient on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from echoapex.data.datasets.inspection import Inspection


class SplitTally:
    """Counts clips by split and watches for patients who are in two of them."""

    def __init__(self, inspection: Inspection, table: Path, names: Sequence[str], *, group: str = "patient") -> None:
        """Watch one table.

        Args:
            inspection: where findings go.
            table: the file that tells the splits.
            names: the official names; without any, every name is taken.
            group: what must not be divided, in words; the clip where patients are hidden.
        """
        self._inspection, self._table, self._names, self._group = inspection, table, tuple(names), group
        self._split_of: dict[str, str] = {}
        self.counts: dict[str, int] = dict.fromkeys(self._names, 0)

    @property
    def groups(self) -> int:
        """Patients (or whatever must not be divided) seen so far."""
        return len(self._split_of)

    def add(self, clip: str, patient: str | None, split: str | None) -> None:
        """One clip, its patient (or other group) where known, and its split."""
        if self._names and split not in self._names:
            self._inspection.error(
                "split name",
                self._table,
                f"{clip} has the split {split or 'none'!r}, official are {', '.join(self._names)}",
                "take the official table; a split of your own belongs into the data set 'folder'",
            )
            return
        if split is not None:
            self.counts[split] = self.counts.get(split, 0) + 1
        if patient is None:
            return
        earlier = self._split_of.get(patient, "")
        self._split_of[patient] = earlier or split or ""
        if split and earlier and earlier != split:
            self._inspection.error(
                f"{self._group} in two splits",
                self._table,
                f"the {self._group} of {clip} ({patient}) is in {earlier} and in {split}",
                f"leave this {self._group} out of training; a score on the other split would be too good",
            )

    def compare(self, published: Mapping[str, int], source: str) -> None:
        """Hold the counts against the published ones."""
        for split, expected in published.items():
            found = self.counts.get(split, 0)
            if found != expected:
                self._inspection.warn(
                    "count of a split",
                    self._table,
                    f"{found} clips in the split {split}, published are {expected} ({source})",
                    "take the official table, complete and unchanged",
                )
