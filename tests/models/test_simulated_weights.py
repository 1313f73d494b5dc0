"""The cards, and not the name of a set, say whether weights have seen patients."""

from pathlib import Path

import pytest
from tiny_tasks import build_tasks, save_set

from echoapex.models.bundle import Origin, read_card, update_card
from echoapex.models.registry import find_set, import_set
from echoapex.models.simulated_weights import advise_patients, has_simulated_outlines

RESEARCH = Path(__file__).resolve().parents[2] / "bundles" / "research"


@pytest.fixture(autouse=True)
def _no_sets_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))


def test_the_shipped_sets_saw_simulated_outlines_only_and_the_research_set_did_not() -> None:
    assert has_simulated_outlines(find_set("phantom"))
    assert has_simulated_outlines(find_set("open"))
    assert not has_simulated_outlines(find_set(RESEARCH))
    assert advise_patients(find_set(RESEARCH)) == ""


def test_one_bundle_that_saw_patients_is_enough(tmp_path: Path) -> None:
    folder = save_set(build_tasks(), tmp_path / "phantom-like")
    simulated = ["EchoApex phantom, seeds 0-9 (synthetic; no patient data)"]
    for bundle in find_set(folder).bundles.values():
        update_card(bundle, training_data=simulated)
    assert has_simulated_outlines(find_set(folder))
    update_card(folder / "segmentation", training_data=[*simulated, "CAMUS"])
    assert not has_simulated_outlines(find_set(folder))
    assert read_card(folder / "segmentation").origin.training_data[-1] == "CAMUS"


def test_data_that_nobody_documented_do_not_count_as_simulated() -> None:
    for data in ((), ("not documented by its author",), ("CAMUS",)):
        assert not Origin(training_data=data, licence="any").has_simulated_outlines
    views = Origin(training_data=("views, without outlines or measurements, of eight clips",), licence="any")
    assert views.has_simulated_outlines


def test_the_advice_names_the_set_that_is_there(tmp_path: Path) -> None:
    paths = find_set("phantom")
    assert "models import bundles/research`, then --bundle research" in advise_patients(paths)
    import_set(find_set("phantom").directory, "research")
    assert "models import" in advise_patients(paths), "a set of that name that saw no patient is not meant"
    import_set(RESEARCH, replace=True)
    assert advise_patients(paths, 'bundle="research"').endswith('use bundle="research"')
