"""What an ingest did, and ``manifest.json``: what the store holds now. No path, no identifier."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from echoapex.data.ingest.rules import IngestRules
from echoapex.data.ingest.unit_work import INGESTED, REJECTED, SET_ASIDE
from echoapex.data.store import MANIFEST_FILE
from echoapex.data.store_place import StorePlace
from echoapex.data.store_schema import FRAME_COLUMNS
from echoapex.version import __version__

MANIFEST_VERSION = "1.0"


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest found and did.

    Attributes:
        ingested: clips of the given sources that are in the store, those done before included.
        set_aside: clips that show no 2D echo, or that could not be made anonymous.
        rejected: files that could not be read.
        done_before: clips and set-aside files that an earlier ingest did.
        frames_kept: frames of this ingest that were no near-duplicates.
        near_duplicates: frames of this ingest that were.
        equal_frames: frames that were dropped since an earlier one of the store has the very same pixels.
        frames_stored: frames in the store now.
    """

    ingested: int
    set_aside: int
    rejected: int
    done_before: int
    frames_kept: int
    near_duplicates: int
    equal_frames: int
    frames_stored: int


def summarise(
    met: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], stored: Sequence[Mapping[str, Any]], frames: int
) -> IngestSummary:
    """Sum up.

    Args:
        met: newest records of the files that this ingest met.
        new: those of them that it worked on.
        stored: newest records of all files of the store.
        frames: frames in the store now.
    """
    outcomes = Counter(record["outcome"] for record in met)
    kept = sum(record["frames_kept"] for record in new)
    return IngestSummary(
        ingested=outcomes[INGESTED],
        set_aside=outcomes[SET_ASIDE],
        rejected=outcomes[REJECTED],
        done_before=len(met) - len(new),
        frames_kept=kept,
        near_duplicates=sum(record["frames_sampled"] for record in new) - kept,
        equal_frames=sum(record["frames_kept"] for record in stored) - frames,
        frames_stored=frames,
    )


def write_manifest(place: StorePlace, rules: IngestRules, records: Sequence[Mapping[str, Any]], frames: int) -> None:
    """Write ``manifest.json`` for the whole store; the files table is the manifest clip by clip."""
    clips = [record for record in records if record["outcome"] == INGESTED]
    kept = sum(record["frames_kept"] for record in clips)
    sampled = sum(record["frames_sampled"] for record in clips)
    content = {
        "manifest_version": MANIFEST_VERSION,
        "echoapex_version": __version__,
        "rules": rules.model_dump(),
        "frames": frames,
        "frames_dropped": {"near_duplicates": sampled - kept, "equal_to_an_earlier_frame": kept - frames},
        "files": dict(sorted(Counter(record["outcome"] for record in records).items())),
        "clips": {
            name: dict(sorted(Counter(record[name] or "unknown" for record in clips).items()))
            for name in ("content", "vendor", "probe", "split")
        },
        "clips_calibrated": sum(record["row_mm"] is not None for record in clips),
        "studies": len({record["study"] for record in clips}),
        "patients": {
            split: len({record["patient"] for record in clips if record["split"] == split})
            for split in ("train", "val")
        },
        "columns": FRAME_COLUMNS,
    }
    place.write(MANIFEST_FILE, (json.dumps(content, indent=1) + "\n").encode())
