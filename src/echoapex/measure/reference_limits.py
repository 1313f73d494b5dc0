"""Normal limits as a versioned data file, so that a cardiologist can read and change them without reading code."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import PositiveFloat

from echoapex.config import Config, build_config
from echoapex.measure.errors import MeasureError


class ReferenceLimits(Config):
    """Upper limits of normal for LV geometry; sexes are those of DICOM (0010,0040), ``F`` and ``M``."""

    name: str
    version: str
    citation: str
    doi: str
    applies_to: str
    lv_mass_index_upper_g_per_m2: dict[Literal["F", "M"], PositiveFloat]
    relative_wall_thickness_upper: PositiveFloat

    @property
    def source(self) -> str:
        """Name, version and DOI in one line, for reports."""
        return f"{self.name}, limits file {self.version}, doi {self.doi}"

    def upper_mass_index(self, sex: str | None) -> float | None:
        """Upper limit of LV mass index in g/m2 for a DICOM patient sex, or None where there is none (O, unknown).

        >>> read_reference_limits().upper_mass_index("M"), read_reference_limits().upper_mass_index("O")
        (115.0, None)
        """
        limits = {str(key): upper for key, upper in self.lv_mass_index_upper_g_per_m2.items()}
        return limits.get((sex or "").strip().upper())


@cache
def read_reference_limits(name: str = "ase2015") -> ReferenceLimits:
    """Read the limits file ``measure/reference/<name>.json`` that ships with the package.

    >>> read_reference_limits().relative_wall_thickness_upper
    0.42

    Raises:
        MeasureError: there is no such file.
        ConfigError: the file lacks a value or holds a wrong one.
    """
    folder = resources.files("echoapex.measure").joinpath("reference")
    file = folder.joinpath(f"{name}.json")
    if not file.is_file():
        known = sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))
        raise MeasureError(f"there are no reference limits called {name!r}; known: {', '.join(known)}")
    return build_config(ReferenceLimits, json.loads(file.read_text(encoding="utf-8")), source=file.name)
