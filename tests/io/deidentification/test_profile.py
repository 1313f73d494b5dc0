"""The table of the standard, and what its options change."""

from __future__ import annotations

import pytest

from echoapex.io.deidentification.profile import (
    REFUSED_OPTIONS,
    Action,
    Profile,
    ProfileError,
    ProfileOption,
    edition,
    listed_tags,
    parse_options,
    rule_of,
)

PATIENT_ID, PATIENT_SEX, STUDY_DATE, STATION_NAME = 0x00100020, 0x00100040, 0x00080020, 0x00081010
STUDY_UID, INSTITUTION, SERIES_DESCRIPTION, PATIENT_AGE = 0x0020000D, 0x00080080, 0x0008103E, 0x00101010


def test_the_table_says_which_edition_it_is() -> None:
    assert edition() == "DICOM PS3.15 table E.1-1, Basic Profile of edition 2026c, options of edition 2025b"
    assert len(listed_tags()) == 652  # without the repeating groups


def test_every_action_of_the_table_is_one_of_the_standard() -> None:
    codes = {code for tag in listed_tags() for code in rule_of(tag).basic.split("/")}  # type: ignore[union-attr]
    assert codes == {"X", "Z", "D", "U", "U*"}


def test_curves_and_overlays_are_removed_in_every_group() -> None:
    assert {Profile().action(tag) for tag in (0x50000005, 0x50FE3000, 0x60003000, 0x60223000, 0x60004000)} == {
        Action.REMOVE
    }
    assert Profile().action(0x60000010) is None


@pytest.mark.parametrize(
    ("tag", "action"),
    [
        (STUDY_DATE, Action.EMPTY),  # Z
        (STUDY_UID, Action.NEW_UID),  # U
        (STATION_NAME, Action.REMOVE),  # X/Z/D, type 3 in an ultrasound image
        (0x0008002A, Action.REPLACE),  # AcquisitionDateTime, X/Z/D, type 1C
        (0x00080023, Action.EMPTY),  # ContentDate, Z/D, type 2C
        (0x00102160, Action.REMOVE),  # EthnicGroup
    ],
)
def test_the_type_decides_where_the_table_leaves_a_choice(tag: int, action: Action) -> None:
    assert Profile().action(tag) is action


def test_a_nested_attribute_stays_valid_whatever_its_type() -> None:
    assert Profile().action(STATION_NAME, is_nested=True) is Action.REPLACE


def test_what_the_table_does_not_list_has_no_action() -> None:
    assert Profile().action(0x00280010) is None


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        (ProfileOption.UIDS, STUDY_UID),
        (ProfileOption.DEVICE, STATION_NAME),
        (ProfileOption.INSTITUTION, INSTITUTION),
        (ProfileOption.PATIENT, PATIENT_SEX),
        (ProfileOption.FULL_DATES, STUDY_DATE),
    ],
)
def test_an_option_keeps_what_the_standard_says(option: ProfileOption, kept: int) -> None:
    assert Profile(frozenset((option,))).action(kept) is Action.KEEP
    others = {STUDY_UID, STATION_NAME, INSTITUTION, PATIENT_SEX, STUDY_DATE} - {kept}
    assert all(Profile(frozenset((option,))).action(tag) is not Action.KEEP for tag in others)


def test_an_option_cleans_what_the_standard_says() -> None:
    assert Profile(frozenset((ProfileOption.MODIFIED_DATES,))).action(STUDY_DATE) is Action.CLEAN
    assert Profile(frozenset((ProfileOption.DESCRIPTORS,))).action(SERIES_DESCRIPTION) is Action.CLEAN
    assert Profile(frozenset((ProfileOption.PATIENT,))).action(PATIENT_AGE) is Action.CLEAN


def test_a_date_of_a_device_is_shifted_although_the_device_is_kept() -> None:
    both = Profile(frozenset((ProfileOption.DEVICE, ProfileOption.MODIFIED_DATES)))
    assert both.action(0x00181200) is Action.CLEAN  # DateOfLastCalibration


def test_no_option_keeps_the_patient() -> None:
    everything = Profile(frozenset(ProfileOption) - {ProfileOption.MODIFIED_DATES})
    assert {everything.action(tag) for tag in (0x00100010, PATIENT_ID, 0x00100030, 0x00100021)}.isdisjoint(
        {Action.KEEP, Action.CLEAN}
    )


def test_full_and_modified_dates_exclude_each_other() -> None:
    with pytest.raises(ProfileError, match="exclude each other"):
        Profile(frozenset((ProfileOption.FULL_DATES, ProfileOption.MODIFIED_DATES)))


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_an_option_that_cannot_be_kept_truly_is_refused_by_name(name: str) -> None:
    with pytest.raises(ProfileError, match=f"the option {name} is refused: "):
        parse_options([name], [])


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="there is no option 'dates'; known: uids, device"):
        parse_options([], ["dates"])


def test_the_codes_of_the_method_say_what_was_done() -> None:
    profile = Profile(frozenset((ProfileOption.UIDS, ProfileOption.MODIFIED_DATES)))
    searched = [code for code, _ in profile.method_codes(text_was_searched=True)]
    assert searched == ["113100", "113101", "113110", "113107"]
    assert "113101" not in dict(profile.method_codes(text_was_searched=False))
    assert profile.longitudinal_information == "MODIFIED"
    assert Profile().longitudinal_information == "REMOVED"


def test_the_meanings_are_those_of_the_standard() -> None:
    from echoapex.io.deidentification.kept_elements import public_meaning

    profile = Profile(frozenset(ProfileOption) - {ProfileOption.FULL_DATES})
    for code, meaning in profile.method_codes(text_was_searched=True):
        assert public_meaning(code, "DCM").replace("-", "") == meaning.replace("-", "")
