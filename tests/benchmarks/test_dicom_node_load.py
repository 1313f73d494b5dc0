"""The load test of the node finds what is lost, and measures what is there."""

import shutil
from pathlib import Path

import pytest
from dicom_node_load import LoadError, compare, measure, write_studies


@pytest.mark.skipif(shutil.which("storescu") is None, reason="storescu is not installed (Debian: dcmtk)")
def test_nothing_is_lost_under_a_small_load() -> None:
    found = measure(5, 2, 1, analyse=False)
    assert (found["studies"], found["instances"], found["lost"]) == (4, 4, 0)
    assert found["studies_per_minute"] == pytest.approx(60 * 4 / found["seconds"], rel=0.1)
    assert found["memory_mb"]["most"] >= found["memory_mb"]["before"] > 0


def test_a_lost_instance_is_found(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming" / "key"
    incoming.mkdir(parents=True)
    (tmp_path / "sent").mkdir()
    sent = write_studies(tmp_path / "sent", 2, 1)
    for study in sent:
        shutil.copy(study[0], incoming)
    compare(tmp_path, sent, (2, 2))
    with pytest.raises(LoadError, match="registered"):
        compare(tmp_path, sent, (2, 1))
    next(incoming.iterdir()).unlink()
    with pytest.raises(LoadError, match="lost or changed"):
        compare(tmp_path, sent, (2, 2))
