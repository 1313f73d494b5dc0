"""Report, FHIR bundle and table of an analysed study: they say what results.json says, and the same each time."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from infer.conftest import AnalysedStudy
from pdf_text import page_texts

from echoapex.domain import EcgOrigin, ReportedEcg, RWaveSource, StudyReport
from echoapex.domain.reported_study import StudyGroup
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.outputs import cohort_table
from echoapex.infer.outputs.clip_pictures import number_text
from echoapex.infer.outputs.cohort_table import COLUMNS
from echoapex.infer.outputs.report_files import ReportOutput, ReportOutputError
from echoapex.infer.outputs.reported_studies import ReportContext, describe_weights
from echoapex.infer.outputs.study_document import DISCS, GROUPS, NOTICE
from echoapex.io import pdf
from echoapex.io.document import TRACE_INK
from echoapex.vocabulary import Quantity, View

ALL = ReportOutput(report=True, fhir=True, cohort="both")


def write(
    out: Path, report: StudyReport, groups: list[StudyGroup] | None = None, asked: ReportOutput = ALL
) -> list[str]:
    whole = [StudyGroup("3d68d9265d4c05ac", tuple(clip.clip_id for clip in report.clips), "M")]
    weights = ReportContext("oracle", describe_weights(report.bundles))
    return asked.write(out, report, whole if groups is None else groups, weights)


@pytest.fixture(scope="module")
def written(analysed: AnalysedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the labelled study, beside the pictures of its clips."""
    out = tmp_path_factory.mktemp("report")
    shutil.copytree(analysed.out / "clips", out / "clips")
    names = write(out, analysed.report)
    assert names == ["report.html", "report.pdf", "fhir/study-1.json", "cohort.csv", "cohort.parquet"]
    return out


def without_pictures(html: str) -> str:
    return unescape(re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", html))


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", without_pictures(html)))


def test_every_value_is_in_the_report_with_limits_and_evidence(written: Path, analysed: AnalysedStudy) -> None:
    html = (written / "report.html").read_text()
    summary, evidence = html.split('<section class="page">')[1:]
    for item in analysed.report.measurements:
        number = number_text(item)
        assert number in visible(summary), item.quantity
        assert f'href="#value-{item.quantity.value}"' in summary
        row = next(row for row in evidence.split("<tr>") if f'id="value-{item.quantity.value}"' in row)
        assert number in visible(row)
        frames = item.evidence[0].frames
        if frames:
            assert f"frames {', '.join(map(str, frames))}" in visible(row)
        if item.evidence[0].row_mm:
            assert "Sequence of Ultrasound Regions" in visible(row)
        for flag in item.flags:
            assert flag.value.replace("_", " ") in visible(row)
    for clip in analysed.report.clips:
        assert clip.clip_id in visible(evidence)
    assert "ASE/EACVI 2015" in visible(summary)
    assert DISCS in visible(summary)
    assert "Simpson" in visible(summary)


def test_every_quantity_belongs_to_a_group_once() -> None:
    shown = [quantity for quantities in GROUPS.values() for quantity in quantities]
    ejection = [Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV]
    assert sorted([*shown, *ejection]) == sorted(Quantity)


def test_both_ejection_fractions_are_side_by_side_with_their_difference(written: Path, analysed: AnalysedStudy) -> None:
    discs, regression = (analysed.report.find(q) for q in (Quantity.LVEF_DISCS, Quantity.LVEF))
    assert discs is not None
    assert regression is not None
    html = (written / "report.html").read_text()
    (row,) = [row for row in html.split("<tr>") if 'href="#value-lvef"' in row]
    assert 'href="#value-lvef_discs"' in row
    assert f"{regression.value - discs.value:+.0f} points" in visible(row)


def test_all_links_of_the_report_lead_somewhere_and_nothing_is_fetched(written: Path) -> None:
    html = without_pictures((written / "report.html").read_text())
    links = set(re.findall(r'href="#([^"]+)"', html))
    names = re.findall(r' id="([^"]+)"', html)
    assert links
    assert links <= set(names)
    assert len(names) == len(set(names))
    assert not re.findall(r'(?:src|href)="(?!#|")', html)


def test_pictures_and_curves_are_inside(written: Path, analysed: AnalysedStudy) -> None:
    html = (written / "report.html").read_text()
    clips = len(analysed.report.clips)
    assert html.count("data:image/jpeg;base64,") == 2 * clips
    curves = sum(1 for clip in analysed.report.clips if len(clip.volume_curve) > 1)
    assert html.count("<svg") == 2 * curves
    assert html.count("time in s") == 2 * curves


def test_the_pdf_says_the_same_and_has_the_notice_on_each_page(written: Path, analysed: AnalysedStudy) -> None:
    pages = page_texts((written / "report.pdf").read_bytes())
    assert len(pages) > 2
    assert all(page.count(NOTICE) == 2 for page in pages)
    assert all("study 3d68d9265d4c05ac" in page for page in pages)
    for item in analysed.report.measurements:
        assert number_text(item) in pages[0], item.quantity
    assert "Simpson" in pages[0]
    assert "Values and their evidence" in " ".join(pages[1:])
    assert DISCLAIMER in " ".join(pages)


def test_the_bundle_has_every_value_and_the_report(written: Path, analysed: AnalysedStudy) -> None:
    bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources comes with the extra test")
    text = (written / "fhir" / "study-1.json").read_text()
    bundles.Bundle.model_validate_json(text)
    found = [item["resource"] for item in json.loads(text)["entry"]]
    numbers = [item["valueQuantity"]["value"] for item in found if "valueQuantity" in item]
    assert numbers == pytest.approx([item.value for item in analysed.report.measurements], rel=1e-5)
    assert "presentedForm" in found[0]


def test_the_tables_have_every_value_and_every_reason(written: Path, analysed: AnalysedStudy) -> None:
    with (written / "cohort.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(Quantity)
    by_quantity = {row["quantity"]: row for row in rows}
    for item in analysed.report.measurements:
        row = by_quantity[item.quantity.value]
        assert float(row["value"]) == pytest.approx(item.value, rel=1e-5)
        assert row["unit"] == item.unit
        assert row["study"] == "3d68d9265d4c05ac"
        assert (row["code"] == "") == (row["code_system"] == "")
    absent = [row for row in rows if row["value"] == ""]
    assert all(row["not_measured_because"] for row in absent)
    edv = by_quantity["edv"]
    assert (edv["normal_low"], edv["normal_high"], edv["normal_for"]) == ("62", "150", "men")
    assert edv["code_system"] == "http://loinc.org"


def test_parquet_and_csv_hold_the_same(written: Path, analysed: AnalysedStudy) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with the extra parquet")
    table = parquet.read_table(written / "cohort.parquet")
    assert table.column_names == list(COLUMNS)
    with (written / "cohort.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for exact, rounded in zip(table.to_pylist(), rows, strict=True):
        for name, kind in COLUMNS.items():
            if kind == "text":
                assert (exact[name] or "") == rounded[name]
            elif exact[name] is None:
                assert rounded[name] == ""
            else:
                assert float(rounded[name]) == pytest.approx(exact[name], rel=1e-5)
    values = [row["value"] for row in table.to_pylist() if row["value"] is not None]
    assert values == [item.value for item in analysed.report.measurements]


def test_the_same_results_give_the_same_bytes(written: Path, analysed: AnalysedStudy, tmp_path: Path) -> None:
    shutil.copytree(written / "clips", tmp_path / "clips")
    for name in write(tmp_path, analysed.report):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_several_studies_have_one_report_each_and_an_index(analysed: AnalysedStudy, tmp_path: Path) -> None:
    clips = analysed.report.clips
    ejection = next(item for item in clips[0].measurements if item.quantity is Quantity.LVEF)
    value = ejection.model_copy(update={"details": {"study": "aaa1"}})
    report = analysed.report.model_copy(update={"measurements": (value,)})
    groups = [StudyGroup("bbb2", (clips[1].clip_id,)), StudyGroup("aaa1", (clips[0].clip_id,))]
    names = write(tmp_path, report, groups)
    assert {"report.html", *(f"reports/study-{n}.{kind}" for n in (1, 2) for kind in ("html", "pdf"))} <= set(names)
    assert "fhir/study-2.json" in names
    index = (tmp_path / "report.html").read_text()
    links = re.findall(r'href="([^"#]+)"', index)
    assert links == [f"reports/study-{n}.{kind}" for n in (1, 2) for kind in ("html", "pdf")]
    assert all((tmp_path / link).is_file() for link in links)
    assert index.index("aaa1") < index.index("bbb2"), "the study with values is first"
    assert NOTICE in index
    first, second = ((tmp_path / f"reports/study-{n}.html").read_text() for n in (1, 2))
    assert clips[1].clip_id not in first
    assert clips[0].clip_id not in second
    assert "not measured" in visible(second)
    with (tmp_path / "cohort.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(Quantity)


def test_a_study_without_any_picture_or_value_is_reported(analysed: AnalysedStudy, tmp_path: Path) -> None:
    aside = tuple(clip.model_copy(update={"set_aside": "blank", "measurements": ()}) for clip in analysed.report.clips)
    names = write(tmp_path, analysed.report.model_copy(update={"clips": aside, "measurements": ()}))
    text = visible((tmp_path / "report.html").read_text())
    assert "LV ejection fraction: not measured." in text
    assert "no clip was analysed that shows" in text
    assert "report.pdf" in names


def test_nothing_at_all_gives_an_empty_index(tmp_path: Path) -> None:
    names = write(tmp_path, StudyReport(echoapex_version="1"), [])
    assert names == ["report.html", "cohort.csv", "cohort.parquet"]


def test_r_waves_are_on_the_curve(analysed: AnalysedStudy, tmp_path: Path) -> None:
    clips = tuple(
        clip.model_copy(update={"r_wave_times_s": (0.2, 0.6) if clip.view is View.A4C else ()})
        for clip in analysed.report.clips
    )
    write(tmp_path, analysed.report.model_copy(update={"clips": clips}), asked=ReportOutput(report=True))
    text = visible((tmp_path / "report.html").read_text())
    assert text.count("lines: R waves") == 2
    assert "none in the file" in text


def test_the_ecg_is_below_the_curve_and_its_origin_is_told(analysed: AnalysedStudy, tmp_path: Path) -> None:
    trace = ReportedEcg(start_s=0, rate_hz=100, origin=EcgOrigin.CURVE, values=(*[0.0] * 20, 1.0, *[0.0] * 400))
    found = {"ecg": trace, "r_wave_times_s": (0.2,), "r_wave_source": RWaveSource.ECG_TRACE}
    clips = tuple(clip.model_copy(update=found if clip.view is View.A4C else {}) for clip in analysed.report.clips)
    write(tmp_path, analysed.report.model_copy(update={"clips": clips}), asked=ReportOutput(report=True))
    html = (tmp_path / "report.html").read_text()
    text = visible(html)
    assert "trace stored as a curve; R waves from the ECG trace" in text
    assert text.count("lines: R waves of the ECG") == html.count(f'stroke="{TRACE_INK}"') == 2
    assert any("lines: R waves of the ECG" in page for page in page_texts((tmp_path / "report.pdf").read_bytes()))


def test_a_report_with_kept_identifiers_says_so(analysed: AnalysedStudy, tmp_path: Path) -> None:
    clip = analysed.report.clips[0].model_copy(update={"clip_id": "東条 Ng/A4C image 1.dcm", "file": "Ng.dcm"})
    report = analysed.report.model_copy(update={"clips": (clip,), "measurements": ()})
    context = ReportContext("oracle", keeps_identifiers=True)
    ReportOutput(report=True).write(tmp_path, report, [StudyGroup("s", (clip.clip_id,))], context)
    assert "may identify the patient" in (tmp_path / "report.html").read_text()
    assert "may identify the patient" in page_texts((tmp_path / "report.pdf").read_bytes())[0]


@pytest.mark.parametrize(
    ("module", "asked", "extra"),
    [(pdf, {"report": True}, "report"), (cohort_table, {"cohort": "parquet"}, "parquet")],
)
def test_a_missing_library_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, module: object, asked: dict[str, object], extra: str
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ReportOutputError, match=rf"pip install 'echoapex\[{extra}\]'"):
        ReportOutput(**asked)  # type: ignore[arg-type]
    ReportOutput(fhir=True, cohort="csv")  # needs neither
