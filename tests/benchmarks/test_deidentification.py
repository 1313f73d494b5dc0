"""The figures of de-identification are counted as they should be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from deidentification import enlarged, header, leaks_part, main, outcome, put_name, squeezed, table_part, with_canary
from header_canaries import MARK


@pytest.fixture(scope="module")
def _oracle() -> None:
    pytest.importorskip("dicomanonymizer", reason="dicom-anonymizer is not installed; it comes with the extra 'test'")


@pytest.mark.usefixtures("_oracle")
def test_no_attribute_of_the_table_stays_by_either_program() -> None:
    found = table_part(step=5)
    assert found["attributes"] > 120
    assert found["left_unchanged"] == {"echoapex": [], "dicom-anonymizer": []}
    assert found["same_outcome"] > 0.8 * found["attributes"]
    plain = {(row["action"], row["echoapex"]) for row in found["outcomes"] if row["action"] in ("X", "U")}
    assert plain == {("X", "removed"), ("U", "replaced")}


@pytest.mark.usefixtures("_oracle")
def test_of_a_header_full_of_canaries_nothing_is_left() -> None:
    found = leaks_part()
    assert found["planted"] > 600
    assert found["echoapex"] == {"elements_with_a_canary": 0, "where": {}}
    assert found["dicom-anonymizer"]["elements_with_a_canary"] > 0  # the counting can find some


@pytest.mark.usefixtures("_oracle")
def test_the_figures_go_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--part", "leaks", "--out", str(tmp_path / "figures" / "a.json")])
    assert json.loads((tmp_path / "figures" / "a.json").read_text()) == json.loads(capsys.readouterr().out)


def test_outcomes_are_told_apart() -> None:
    dataset = header()
    before = dataset["PatientID"].to_json()
    tag = int(dataset["PatientID"].tag)
    assert outcome(dataset, tag, before) == "unchanged"
    dataset.PatientID = "other"
    assert outcome(dataset, tag, before) == "replaced"
    dataset.PatientID = ""
    assert outcome(dataset, tag, before) == "emptied"
    del dataset.PatientID
    assert outcome(dataset, tag, before) == "removed"


def test_canaries_are_found_at_any_depth() -> None:
    dataset = header()
    dataset.SequenceOfUltrasoundRegions[0].TextValue = MARK
    assert list(with_canary(dataset)) == [("SequenceOfUltrasoundRegions", "TextValue")]


def test_a_name_is_written_in_every_frame_or_in_one() -> None:
    for motion, expected in (("every frame", 4), ("one frame", 1)):
        frames = enlarged(np.full((4, 64, 64), 50, np.uint8))
        x0, y0, x1, y1 = put_name(frames, 3, 255, 0.6, motion)
        assert (frames[:, y0:y1, x0:x1] == 255).any(axis=(1, 2)).sum() == expected
        frames[:, y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 0
        assert not (frames == 255).any()


def test_reading_is_compared_without_spaces_and_marks() -> None:
    assert squeezed("Test, ADL ^^") == "TESTADL"
