from __future__ import annotations

import pytest
from infer.conftest import AnalysedStudy

from echoapex.domain import ClipReport, Evidence, Flag, Measurement, StudyReport
from echoapex.domain.reported_study import ReportedStudy, StudyGroup
from echoapex.infer.outputs.reported_studies import ReportContext, collect_studies, describe_weights
from echoapex.measure.grading import grade_measurement
from echoapex.models.bundle import read_card
from echoapex.models.registry import find_set
from echoapex.vocabulary import Quantity, View

WEIGHTS = ReportContext("phantom")
CALIBRATED = Evidence(clip_id="a4c", frames=(3, 9), row_mm=0.5, column_mm=0.5, calibration_source="header")


def clip(name: str, view: View | None, **more: object) -> ClipReport:
    known = {"clip_id": name, "file": name, "frames": 20, "size": (8, 8), "content": "b_mode", "view": view}
    return ClipReport.model_validate(known | {"row_mm": 0.5, "column_mm": 0.5} | more)


def value(quantity: Quantity, number: float, **more: object) -> Measurement:
    known = {"quantity": quantity, "value": number, "method": "m", "evidence": (CALIBRATED,)}
    return Measurement.model_validate(known | more)


def only_study(values: tuple[Measurement, ...], clips: tuple[ClipReport, ...], sex: str | None = None) -> ReportedStudy:
    report = StudyReport(echoapex_version="1", clips=clips, measurements=values)
    groups = [StudyGroup("", tuple(item.clip_id for item in clips), sex)]
    (study,) = collect_studies(report, groups, WEIGHTS)
    return study


def reasons(study: ReportedStudy) -> dict[Quantity, str]:
    return {missing.quantity: missing.reason for missing in study.missing}


def test_every_quantity_has_a_value_or_a_reason(analysed: AnalysedStudy) -> None:
    groups = [StudyGroup("s", tuple(item.clip_id for item in analysed.report.clips), "M")]
    (study,) = collect_studies(analysed.report, groups, WEIGHTS)
    assert [item.measurement for item in study.values] == list(analysed.report.measurements)
    assert {item.quantity for item in study.values} | set(reasons(study)) == set(Quantity)
    assert not {item.quantity for item in study.values} & set(reasons(study))
    assert all(reasons(study).values())


def test_values_are_graded_as_grading_says(analysed: AnalysedStudy) -> None:
    for sex in ("F", "M", None):
        groups = [StudyGroup("s", tuple(item.clip_id for item in analysed.report.clips), sex)]
        (study,) = collect_studies(analysed.report, groups, WEIGHTS)
        for item in study.values:
            grading = grade_measurement(item.measurement, sex)
            if grading is not None:
                assert item.category == grading.grade.value
                assert item.source == grading.source
                assert item.limits


@pytest.mark.parametrize(
    ("sex", "limits", "category"),
    [
        ("F", [(46, 106, "women")], "above the normal range"),
        ("M", [(62, 150, "men")], "normal"),
        (None, [(46, 106, "women"), (62, 150, "men")], ""),
    ],
)
def test_limits_are_those_of_the_sex(sex: str | None, limits: list[object], category: str) -> None:
    study = only_study((value(Quantity.EDV, 120.0),), (clip("a4c", View.A4C),), sex)
    found = study.values[0]
    assert [(item.low, item.high, item.applies_to) for item in found.limits] == limits
    assert found.category == category
    assert "ASE/EACVI 2015" in found.source


@pytest.mark.parametrize(("sex", "category"), [("F", "above the normal range"), ("M", "normal"), (None, "")])
def test_mass_index_has_the_limits_of_the_lv_geometry(sex: str | None, category: str) -> None:
    mass = value(Quantity.LV_MASS_INDEX, 100.0)
    assert only_study((mass,), (clip("a4c", View.PLAX),), sex).values[0].category == category


def test_codes_say_one_plane_or_two() -> None:
    second = CALIBRATED.model_copy(update={"clip_id": "a2c"})
    clips = (clip("a4c", View.A4C), clip("a2c", View.A2C))

    def code(quantity: Quantity, planes: dict[str, object], *evidence: Evidence) -> str | None:
        item = value(quantity, 60.0, evidence=evidence, details=planes)
        found = only_study((item,), clips).values[0].loinc
        return found.value if found else None

    two = {"planes": {"A4C": "a4c", "A2C": "a2c"}}
    assert code(Quantity.EDV, two, CALIBRATED, second) == "79996-5"
    assert code(Quantity.EDV, {}, CALIBRATED) == "79999-9"
    assert code(Quantity.EDV, {}, second) == "79998-1"
    assert code(Quantity.EDV, {}, CALIBRATED, second) == "18026-5"
    assert code(Quantity.LA_VOLUME, two, CALIBRATED, second) == "79983-3"
    assert code(Quantity.LA_VOLUME, {}, second) == "79985-8"
    assert code(Quantity.LA_VOLUME, {}, CALIBRATED, second) is None
    assert code(Quantity.RA_VOLUME, {}, CALIBRATED) is None


def test_an_indexed_volume_has_the_planes_of_its_volume() -> None:
    volume = value(Quantity.LA_VOLUME, 60.0, details={"planes": {}})
    found = only_study((volume, value(Quantity.LA_VOLUME_INDEX, 30.0)), (clip("a4c", View.A4C),)).values[1]
    assert found.is_biplane
    assert found.loinc is not None
    assert found.loinc.value == "79984-1"


def test_reasons_name_view_calibration_notes_and_parents() -> None:
    plain = only_study((), (clip("a4c", View.A4C, notes=("input: odd", "no discs: no beat was found")),))
    assert reasons(plain)[Quantity.EDV] == "no discs: no beat was found"
    assert "parasternal long-axis" in reasons(plain)[Quantity.IVSD]
    assert reasons(plain)[Quantity.LV_MASS] == "needs: IVSd, LVIDd, LVPWd (not measured)"
    assert "height or weight" in reasons(plain)[Quantity.BSA]

    bare = clip("a4c", View.A4C, row_mm=None, column_mm=None, spacing_reason="the file has no regions")
    assert reasons(only_study((), (bare,)))[Quantity.EDV] == "not calibrated: the file has no regions"

    plax = clip("plax", View.PLAX, notes=("no RVIDd: the sector ends", "colour Doppler: no volumes"))
    told = reasons(only_study((), (plax,)))
    assert (told[Quantity.RVIDD], told[Quantity.IVSD]) == ("the sector ends", "colour Doppler: no volumes")

    aside = clip("a4c", None, set_aside="the image is nearly blank")
    assert "no clip was analysed that shows" in reasons(only_study((), (aside,)))[Quantity.LVEF]

    cut = (Flag.STRUCTURE_CUT_OFF,)
    volumes = (value(Quantity.EDV, 120.0, flags=cut), value(Quantity.ESV, 60.0, flags=cut))
    assert (
        reasons(only_study(volumes, (clip("a4c", View.A4C),)))[Quantity.STROKE_VOLUME] == "the sector cuts the LV off"
    )


def test_studies_keep_their_values_clips_and_names() -> None:
    def ejection(study: str, number: float) -> Measurement:
        evidence = (Evidence(clip_id=f"clip-{study}"),)
        return value(Quantity.LVEF, number, evidence=evidence, details={"study": study})

    clips = tuple(clip(f"clip-{name}", View.A4C) for name in ("ann", "bob", "unknown"))
    values = (ejection("bob", 34.0), ejection("ann", 61.0))
    report = StudyReport(echoapex_version="1", clips=clips, measurements=values)
    groups = [StudyGroup("ann", ("clip-ann",)), StudyGroup("", ("clip-unknown",)), StudyGroup("bob", ("clip-bob",))]
    studies = collect_studies(report, groups, WEIGHTS)
    assert [study.digest for study in studies[:2]] == ["bob", "ann"]
    assert [[item.measurement.value for item in study.values] for study in studies] == [[34.0], [61.0], []]
    assert [study.clips[0].clip_id for study in studies] == ["clip-bob", "clip-ann", "clip-unknown"]
    assert len(studies[2].digest) == 16


def test_weights_have_the_licence_of_their_card() -> None:
    paths = find_set("phantom")
    digest = {"phantom/encoder": read_card(paths.encoder).files["weights.safetensors"]}
    (known,) = describe_weights(digest, paths)
    assert known.licence == "Apache-2.0"
    assert "phantom" in " ".join(known.training_data)
    (unknown,) = describe_weights({"other": "0" * 64}, paths)
    assert (unknown.licence, unknown.training_data) == ("", ())
