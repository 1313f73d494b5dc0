"""The set that answers when nobody names one: whole, sealed, permissive, and able to read a simulated study."""

from pathlib import Path

import pytest
from conftest import LabelledStudy

import echoapex
from echoapex.domain import Flag
from echoapex.models.bundle import read_card
from echoapex.models.registry import TASKS, find_set, verify_set
from echoapex.vocabulary import Quantity, View


@pytest.fixture(autouse=True)
def _nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ECHOAPEX_BUNDLE")
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))


def test_it_is_whole_sealed_permissive_and_small() -> None:
    found = find_set()
    assert found.name == "open"
    assert set(found.bundles) == {"encoder", *TASKS}
    assert [check.problem for check in verify_set(found)] == [""] * 5
    for place in found.bundles.values():
        card = read_card(place)
        assert not card.non_commercial
        assert "NC" not in card.licence
        assert any("origin inferred" in line for line in card.training_data), "where it started is said"
    size = sum(path.stat().st_size for path in found.directory.rglob("*") if path.is_file())
    assert size <= 60_000_000


def test_it_reads_a_simulated_study(labelled_study: LabelledStudy) -> None:
    report = echoapex.analyze(labelled_study.folder)
    assert [clip.view for clip in report.clips] == [View.A2C, View.A4C, View.PLAX]
    ef = report.find(Quantity.LVEF_DISCS)
    assert ef is not None
    assert Flag.OUT_OF_RANGE not in ef.flags
    assert ef.value == pytest.approx(labelled_study.truth.ejection_fraction_percent, abs=12)
    assert "open/encoder" in report.bundles
