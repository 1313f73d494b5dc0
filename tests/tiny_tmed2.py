"""A tiny TMED-2 of simulated hearts, in the official layout."""

from __future__ import annotations

from pathlib import Path

import cv2
from dataset_findings import write_table

from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

FULL, VIEW_ONLY = "view_and_diagnosis_labeled_set/labeled", "view_labeled_set/labeled"
# file, view label, diagnosis, split, folder, simulated view
IMAGES = (
    ("1001s1_0.png", "PLAX", "no_AS", "train", FULL, View.PLAX),
    ("1001s1_1.png", "PSAX", "no_AS", "train", FULL, View.PSAX_AV),
    ("1001s2_0.png", "A4C", "mild_AS", "train", FULL, View.A4C),
    ("1002s1_0.png", "A2C", "severe_AS", "val", FULL, View.A2C),
    ("1003s1_0.png", "A4CorA2CorOther", "moderate_AS", "test", FULL, View.A5C),
    ("2001s1_0.png", "PLAX", "Not_Provided", "train", VIEW_ONLY, View.PLAX),
)
COLUMNS = [
    "query_key",
    "view_label",
    "diagnosis_label",
    "view_classifier_split",
    "diagnosis_classifier_split",
    "SourceFolder",
]


def write_tiny_tmed2(root: Path) -> Path:
    """Six images of four patients; returns ``approved_users_only``."""
    approved = root / "approved_users_only"
    rows = []
    for seed, (key, view_label, diagnosis, split, folder, view) in enumerate(IMAGES):
        clip = simulate_clip(view, seed, size=112, frames=1)
        (approved / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(approved / folder / key), clip.frames[0])
        rows.append(dict(zip(COLUMNS, (key, view_label, diagnosis, split, split, folder), strict=True)))
    write_table(approved / "DEV479" / "TMED2_fold0_labeledpart.csv", COLUMNS, rows)
    return approved
