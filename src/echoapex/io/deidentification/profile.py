"""The Basic Application Confidentiality Profile of DICOM (PS3.15 annex E) and its options, from the standard's table.

The table is ``ps3_15_table.json``; ``benchmarks/make_confidentiality_table.py`` makes it. Options that cannot be
carried out truly are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

TABLE_FILE = "ps3_15_table.json"


class ProfileError(ValueError):
    """A profile or an option that cannot be used; the message says which and why."""


class ProfileOption(StrEnum):
    """The options of PS3.15 that are carried out; the values are the names on the command line."""

    UIDS = "uids"
    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT = "patient-characteristics"
    FULL_DATES = "full-dates"
    MODIFIED_DATES = "modified-dates"
    DESCRIPTORS = "descriptors"


REFUSED_OPTIONS = {
    "safe-private": "no private element that the standard lists as safe belongs to ultrasound; all are removed",
    "graphics": "overlays and annotations are removed, because drawn text cannot be cleaned reliably",
    "structured-content": "reports are not de-identified, only images",
    "recognizable-visual-features": "an ultrasound image of the heart shows no face",
}
"""Options of PS3.15 that are refused, with the reason."""


class Action(StrEnum):
    """What happens to an attribute: the action codes of PS3.15 table E.1-1a."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    NEW_UID = "U"
    KEEP = "K"
    CLEAN = "C"


_OPTION_CODES = {
    ProfileOption.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    ProfileOption.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    ProfileOption.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ProfileOption.PATIENT: ("113108", "Retain Patient Characteristics Option"),
    ProfileOption.DEVICE: ("113109", "Retain Device Identity Option"),
    ProfileOption.UIDS: ("113110", "Retain UIDs Option"),
    ProfileOption.INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
_BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
_PIXEL_CODE = ("113101", "Clean Pixel Data Option")


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        basic: action of the Basic Profile, such as ``X`` or ``X/Z/D``.
        type: strictest type in the ultrasound image objects (``1``, ``1C``, ``2``, ``2C``, ``3``); empty if the
            attribute is not in them.
        options: option name to ``K`` or ``C``.
    """

    basic: str
    type: str
    options: dict[str, str]


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with options.

    Raises:
        ProfileError: options that exclude each other.
    """

    options: frozenset[ProfileOption] = frozenset()

    def __post_init__(self) -> None:
        if {ProfileOption.FULL_DATES, ProfileOption.MODIFIED_DATES} <= self.options:
            raise ProfileError("full-dates and modified-dates exclude each other; choose one")

    def action(self, tag: int, *, is_nested: bool = False) -> Action | None:
        """The action for a standard attribute; None if the table does not list it.

        Args:
            tag: the tag as one number.
            is_nested: inside an item of a sequence, where the type is not known.
        """
        rule = rule_of(tag)
        if rule is None:
            return None
        chosen = [rule.options.get(option.value, "") for option in self.options]
        dates = ProfileOption.MODIFIED_DATES
        if dates in self.options and rule.options.get(dates.value):
            return Action.CLEAN  # a date of a device that is kept is still a date
        if "K" in chosen:
            return Action.KEEP
        return Action.CLEAN if "C" in chosen else self.basic_action(tag, is_nested=is_nested)

    def basic_action(self, tag: int, *, is_nested: bool = False) -> Action:
        """The action of the Basic Profile alone, chosen by the type of the attribute where the table leaves a choice.

        Raises:
            KeyError: the table does not list the attribute.
        """
        rule = rule_of(tag)
        if rule is None:
            raise KeyError(f"{tag:08x}")
        codes = rule.basic.split("/")
        if is_nested or len(codes) == 1:
            return _strictest(codes)
        if rule.type.startswith("1") and "D" in codes:
            return Action.REPLACE
        if rule.type.startswith(("1", "2")) and "Z" in codes:
            return Action.EMPTY
        return Action.REMOVE if "X" in codes else _strictest(codes)

    def method_codes(self, *, text_was_searched: bool) -> tuple[tuple[str, str], ...]:
        """Codes and meanings of DeidentificationMethodCodeSequence (PS3.16 CID 7050)."""
        pixels = (_PIXEL_CODE,) if text_was_searched else ()
        return (_BASIC_CODE, *pixels, *(_OPTION_CODES[option] for option in ProfileOption if option in self.options))

    @property
    def longitudinal_information(self) -> str:
        """Value of LongitudinalTemporalInformationModified (0028,0303)."""
        if ProfileOption.FULL_DATES in self.options:
            return "UNMODIFIED"
        return "MODIFIED" if ProfileOption.MODIFIED_DATES in self.options else "REMOVED"


def parse_options(retain: Iterable[str], clean: Iterable[str]) -> frozenset[ProfileOption]:
    """Options by their names on the command line.

    Raises:
        ProfileError: an option is unknown, or refused.
    """
    found = set()
    for name in (*retain, *clean):
        if name in REFUSED_OPTIONS:
            raise ProfileError(f"the option {name} is refused: {REFUSED_OPTIONS[name]}")
        if name not in list(ProfileOption):
            known = ", ".join(ProfileOption)
            raise ProfileError(f"there is no option {name!r}; known: {known}")
        found.add(ProfileOption(name))
    return frozenset(found)


def rule_of(tag: int) -> Rule | None:
    """The row of the table for a tag; None if there is none."""
    rules = _table()[1]
    if tag >> 24 == 0x50:
        return rules["50xxxxxx"]
    if tag >> 24 == 0x60 and (element := f"60xx{tag & 0xFFFF:04x}") in rules:
        return rules[element]
    return rules.get(f"{tag:08x}")


def edition() -> str:
    """The editions of the standard that the table was made from, in words."""
    head = _table()[0]
    return (
        f"{head['standard']}, Basic Profile of edition {head['edition_of_basic_profile']}, "
        f"options of edition {head['edition_of_options']}"
    )


def listed_tags() -> tuple[int, ...]:
    """Every tag of the table, without repeating groups."""
    return tuple(int(tag, 16) for tag in _table()[1] if "x" not in tag)


def _strictest(codes: list[str]) -> Action:
    """The action that keeps a nested attribute valid, whatever its type: D before Z, both before X."""
    for code in ("U", "D", "Z"):
        if code in codes:
            return Action(code)
    return Action.REMOVE


@cache
def _table() -> tuple[dict[str, Any], dict[str, Rule]]:
    content = json.loads((resources.files(__package__) / TABLE_FILE).read_text(encoding="utf-8"))
    rules = {tag: Rule(row["basic"], row["type"], row["options"]) for tag, row in content["attributes"].items()}
    return content, rules
