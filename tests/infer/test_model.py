"""The front door: a set loaded once answers questions about clips and studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from conftest import LabelledStudy

import echoapex
from echoapex.domain.results import ROW_COLUMNS
from echoapex.infer.interactive.propagation import InteractiveError
from echoapex.infer.model import PROMPTED
from echoapex.infer.study.analyze import AnalysisError
from echoapex.models.bundle import BundleError
from echoapex.models.registry import default_set
from echoapex.vocabulary import VISIBLE_STRUCTURES


@pytest.fixture(scope="module")
def model() -> echoapex.Model:
    return echoapex.load("phantom", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def apical(labelled_study: LabelledStudy) -> echoapex.Clip:
    return echoapex.read(labelled_study.folder / "A4C.dcm")


@pytest.fixture(scope="module")
def report(model: echoapex.Model, labelled_study: LabelledStudy) -> echoapex.StudyReport:
    return model.analyze(labelled_study.folder, options=echoapex.AnalysisOptions(contours="ed_es", overlays=False))


def test_the_model_says_what_it_is(model: echoapex.Model) -> None:
    assert repr(model) == "Model('phantom', device='cpu', precision='fp32')"
    assert all(len(digest) == 64 for digest in model.digests.values())


def test_a_model_that_saw_no_patient_says_so_once_it_has_read_a_study(
    labelled_study: LabelledStudy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path))
    model = echoapex.load("phantom", device="cpu", precision="fp32")
    assert not caplog.messages
    options = echoapex.AnalysisOptions(contours="ed_es", overlays=False)
    for _ in range(2):
        model.analyze(labelled_study.folder / "PLAX.dcm", options=options)
    (message,) = caplog.messages
    assert "'phantom' learned outlines from simulated hearts only" in message
    assert message.endswith('`echoapex models import bundles/research`, then bundle="research"')


def test_a_clip_in_memory_and_its_file_have_the_same_view(
    model: echoapex.Model, apical: echoapex.Clip, labelled_study: LabelledStudy
) -> None:
    from_memory = model.classify_view(apical)
    assert from_memory.probabilities == model.classify_view(labelled_study.folder / "A4C.dcm").probabilities
    assert from_memory.view is echoapex.View.A4C


def test_features_have_a_place_and_a_meaning(model: echoapex.Model, apical: echoapex.Clip) -> None:
    found = model.encode(apical)
    count, rows, columns, width = found.patch_tokens.shape
    assert found.class_tokens.shape == (count, width)
    assert found.frames == tuple(range(apical.header.frame_count))
    assert found.times_s == apical.header.frame_times_s
    assert len(found.encoder_sha256) == 64
    # columns go from left to right and rows from top to bottom of the native frame, evenly
    across, down = found.patch_centres_xy[0, :, 0], found.patch_centres_xy[:, 0, 1]
    assert (np.diff(across) > 0).all() and (np.diff(down) > 0).all()
    assert np.ptp(np.diff(across)) == pytest.approx(0, abs=1e-6)
    assert (rows, columns) == found.patch_centres_xy.shape[:2]
    # neighbouring frames are more alike than frames half a beat apart
    unit = found.class_tokens / np.linalg.norm(found.class_tokens, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert np.diag(likeness, 1).mean() > np.diag(likeness, count // 3).mean()


def test_an_encoder_alone_gives_the_features_of_its_set(model: echoapex.Model, apical: echoapex.Clip) -> None:
    alone = echoapex.load_encoder(default_set().encoder, device="cpu", precision="fp32").encode(apical)
    within = model.encode(apical, echoapex.Application.SEGMENTATION)
    assert alone.encoder_sha256 == within.encoder_sha256
    if alone.patch_tokens.shape == within.patch_tokens.shape:
        np.testing.assert_allclose(alone.class_tokens, within.class_tokens, atol=1e-3)
    with pytest.raises(BundleError):
        echoapex.load_encoder("no-such-folder")


def test_structures_are_outlined_by_name(model: echoapex.Model, apical: echoapex.Clip) -> None:
    by_view = model.segment(apical)
    assert by_view.labels.shape == apical.frames.shape[:3]
    assert set(by_view.overlap) == set(VISIBLE_STRUCTURES[echoapex.View.A4C])
    alone = model.segment(apical, structures=[echoapex.Structure.LV_CAVITY])
    assert set(np.unique(alone.labels)) == {0, int(echoapex.Structure.LV_CAVITY)}
    assert alone.spacing == apical.header.spacing
    lv = alone.mask(echoapex.Structure.LV_CAVITY)
    assert lv.any(axis=(1, 2)).all()


def test_prompts_lead_and_are_carried_through_the_clip(model: echoapex.Model, apical: echoapex.Clip) -> None:
    lv = model.segment(apical, structures=[echoapex.Structure.LV_CAVITY]).mask(echoapex.Structure.LV_CAVITY)
    row, column = np.argwhere(lv[0]).mean(axis=0)
    size = apical.header.size
    click = echoapex.Prompt(size, positive_xy=((float(column), float(row)),))
    clicked = model.segment(apical, prompts={0: click})
    assert clicked.mask()[0, int(row), int(column)]
    assert clicked.mask().any(axis=(1, 2)).all()
    assert set(np.unique(clicked.labels)) == {0, PROMPTED}
    named = echoapex.Prompt(size, positive_xy=((float(column), float(row)),), structure=echoapex.Structure.LV_CAVITY)
    agreed = model.segment(apical, prompts={0: named}).mask(echoapex.Structure.LV_CAVITY)
    assert (agreed & lv).sum() / (agreed | lv).sum() > 0.7


def test_prompts_and_names_exclude_each_other(model: echoapex.Model, apical: echoapex.Clip) -> None:
    click = echoapex.Prompt(apical.header.size, positive_xy=((80.0, 60.0),))
    with pytest.raises(InteractiveError, match="structures or prompts, not both"):
        model.segment(apical, prompts={0: click}, structures=[echoapex.Structure.LV_CAVITY])
    with pytest.raises(InteractiveError, match="not in the clip"):
        model.segment(apical, prompts={999: click})


def test_the_values_of_a_clip_have_evidence(model: echoapex.Model, apical: echoapex.Clip) -> None:
    values = model.measure(apical)
    assert echoapex.Quantity.LVEF in {value.quantity for value in values}
    assert all(value.evidence for value in values)


def test_values_are_one_table(report: echoapex.StudyReport) -> None:
    table = report.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert tuple(table.columns) == ROW_COLUMNS
    ef = table[(table.level == "study") & (table.quantity == "lvef")]
    assert report.ef is not None
    assert ef.value.item() == report.ef.value
    assert len(table) == len(report.measurements) + sum(len(clip.measurements) for clip in report.clips)


def test_without_pandas_the_remedy_is_said(report: echoapex.StudyReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'echoapex\[dataframe\]'"):
        report.to_dataframe()


def test_a_report_is_short_in_words_and_a_table_in_a_notebook(report: echoapex.StudyReport) -> None:
    assert report.ef is not None
    assert repr(report).startswith("StudyReport(3 clips, ")
    assert f"EF {report.ef.value:.0f} %" in repr(report)
    assert len(repr(report)) < 100
    html = report._repr_html_()
    assert "not a medical device" in html
    assert html.count("<tr>") == 2 + len(report.measurements) + len(report.clips)


def test_html_cannot_be_smuggled_in(report: echoapex.StudyReport) -> None:
    named = report.clips[0].model_copy(update={"file": "<script>alert(1)</script>"})
    html = report.model_copy(update={"clips": (named,)})._repr_html_()
    assert "<script>" not in html


def test_masks_are_in_memory_and_the_written_ones(
    model: echoapex.Model, report: echoapex.StudyReport, labelled_study: LabelledStudy, tmp_path: Path
) -> None:
    options = echoapex.AnalysisOptions(contours="ed_es", overlays=False)
    first = model.analyze(labelled_study.folder, tmp_path, options=options)
    again = model.analyze(labelled_study.folder, tmp_path, options=options)
    assert first == again, "masks play no part in equality"
    for clip in first.clips:
        assert list(first.masks[clip.clip_id]) == list(again.masks[clip.clip_id])
        for frame, labels in first.masks[clip.clip_id].items():
            np.testing.assert_array_equal(labels, again.masks[clip.clip_id][frame])
    assert "masks" not in report.model_dump()


def test_what_does_not_exist_is_refused_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoapex.infer.model.load", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(AnalysisError, match=r"nowhere: does not exist"):
        echoapex.analyze(tmp_path / "nowhere")
    with pytest.raises(AnalysisError, match=r"nowhere: does not exist"):
        echoapex.analyze([tmp_path, tmp_path / "nowhere"])


def test_every_public_name_can_be_had() -> None:
    for name in echoapex.__all__:
        assert getattr(echoapex, name) is not None
    assert dir(echoapex) == sorted(echoapex.__all__)
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        _ = echoapex.analyse
