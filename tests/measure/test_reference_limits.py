"""The limits file is complete, versioned and cited, and a broken one is refused."""

import json
import re
from importlib import resources

import pytest

from echoapex.config import ConfigError, build_config
from echoapex.measure import MeasureError, ReferenceLimits, read_reference_limits
from echoapex.vocabulary import Quantity


def raw() -> dict:
    return json.loads(
        resources.files("echoapex.measure").joinpath("reference/ase2015.json").read_text(encoding="utf-8")
    )


def test_the_shipped_limits_are_those_of_the_guideline() -> None:
    limits = read_reference_limits()
    assert limits.upper_mass_index("F") == 95
    assert limits.upper_mass_index("M") == 115
    assert limits.upper_relative_wall_thickness == 0.42
    assert limits.doi == "10.1016/j.echo.2014.10.003"
    assert re.fullmatch(r"\d+\.\d+\.\d+", limits.version)
    assert limits.version in limits.source
    assert limits.doi in limits.source


@pytest.mark.parametrize("sex", ["f", " F ", "F"])
def test_sex_is_read_as_dicom_writes_it(sex: str) -> None:
    assert read_reference_limits().upper_mass_index(sex) == 95


@pytest.mark.parametrize("sex", [None, "", "O", "male"])
def test_an_unknown_sex_has_no_limit(sex: str | None) -> None:
    assert read_reference_limits().upper_mass_index(sex) is None


def test_unknown_limits_name_the_known_ones() -> None:
    with pytest.raises(MeasureError, match="known: ase2015"):
        read_reference_limits("ase1999")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"relative_wall_thickness_upper": -1}, "relative_wall_thickness_upper"),
        ({"lv_mass_index_upper_g_per_m2": {"F": 95, "X": 1}}, "lv_mass_index_upper_g_per_m2"),
        ({"lv_mass_indx": 3}, "unknown key"),
    ],
)
def test_a_broken_limits_file_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config(ReferenceLimits, {**raw(), **change}, source="ase2015.json")


@pytest.mark.parametrize(("sex", "mean", "deviation"), [("F", 21, 6), ("M", 25, 7)])
def test_the_right_atrium_has_two_standard_deviations_about_its_mean(sex: str, mean: int, deviation: int) -> None:
    limits = read_reference_limits().normal_ranges[Quantity.RA_VOLUME_INDEX]
    normal = {"F": limits.F, "M": limits.M}[sex]
    assert (normal.low, normal.high) == (mean - 2 * deviation, mean + 2 * deviation)
    assert f"{mean} ({deviation})" in limits.note


def test_the_rv_diameter_on_plax_has_no_limits() -> None:
    """The guideline's PLAX diameter is that of the outflow tract, which is another line."""
    assert Quantity.RVIDD not in read_reference_limits().normal_ranges


@pytest.mark.parametrize("quantity", [Quantity.LV_MASS_INDEX, Quantity.RWT])
def test_limits_without_those_of_geometry_are_refused(quantity: Quantity) -> None:
    limits = read_reference_limits().model_dump(mode="json")
    del limits["normal_ranges"][quantity.value]
    with pytest.raises(ConfigError, match=f"normal_ranges.{quantity}"):
        build_config(ReferenceLimits, limits, "own.json")
