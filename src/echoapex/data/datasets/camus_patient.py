"""What CAMUS tells about a patient: ``Info_4CH.cfg`` or one table, the official splits, and which EF is meant.

The two releases give two ejection fractions, under two names, and they must not be mixed:

* ``LVef`` (with ``LVedv`` and ``LVesv`` in mL), in ``Info_4CH.cfg`` of the MetaImage release;
* ``EF``, in ``Info_4CH.cfg`` of the NIfTI release (and in ``patients_info.csv`` of ``camus224.npz``).

Neither is that of the method of discs on the released outlines: on the 450 patients with public outlines that one
correlates with ``EF`` (r about 0.96) but is about 8.7 points higher.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echoapex.data.datasets.records import ReferenceValue, number, whole_number
from echoapex.vocabulary import Quantity

SPLIT_FILES = {
    "train": "subgroup_training.txt",
    "val": "subgroup_validation.txt",
    "test": "subgroup_testing.txt",
}
PATIENT_TABLE = "patients_info.csv"
SPLIT_FOLDER = "database_split"

EjectionFractionKey = Literal["", "EF", "LVef"]
EF_SOURCES: dict[EjectionFractionKey, str] = {
    "EF": "CAMUS EF of the NIfTI release",
    "LVef": "CAMUS LVef of the MetaImage release",
}


@dataclass(frozen=True)
class CamusPatient:
    """One patient; what the data set does not tell is None.

    Attributes:
        name: ``patient0001``.
        split: ``train``, ``val`` or ``test``.
        sex: M or F.
        age_years: age.
        image_quality: Good, Medium or Poor, as the data set writes it.
        ejection_fraction_percent: the EF of the release.
        frame_rate_hz: frames a second.
        ejection_fraction_key: which of the two EF it is, by its name in the release; "" without an EF.
        edv_ml: end-diastolic volume; in the MetaImage release only.
        esv_ml: end-systolic volume; in the MetaImage release only.
    """

    name: str
    split: str | None
    sex: Literal["M", "F"] | None = None
    age_years: int | None = None
    image_quality: str | None = None
    ejection_fraction_percent: float | None = None
    frame_rate_hz: float | None = None
    ejection_fraction_key: EjectionFractionKey = ""
    edv_ml: float | None = None
    esv_ml: float | None = None

    @property
    def references(self) -> tuple[ReferenceValue, ...]:
        """EF, EDV and ESV where the release gives them, each with the release it is from."""
        source = EF_SOURCES.get(self.ejection_fraction_key, "CAMUS")
        values = {
            Quantity.LVEF: self.ejection_fraction_percent,
            Quantity.EDV: self.edv_ml,
            Quantity.ESV: self.esv_ml,
        }
        return tuple(ReferenceValue(quantity, value, source) for quantity, value in values.items() if value is not None)


def build_patient(name: str, split: str | None, info: Mapping[str, str]) -> CamusPatient:
    """A patient from the keys and values of a cfg file or of a row of the table."""
    sex = info.get("Sex")
    key: EjectionFractionKey = "EF" if number(info.get("EF", "")) is not None else "LVef"
    ef_percent = number(info.get(key, ""))
    return CamusPatient(
        name=name,
        split=split,
        sex="M" if sex == "M" else "F" if sex == "F" else None,
        age_years=whole_number(info.get("Age", "")),
        image_quality=info.get("ImageQuality"),
        ejection_fraction_percent=ef_percent,
        frame_rate_hz=number(info.get("FrameRate", "")),
        ejection_fraction_key="" if ef_percent is None else key,
        edv_ml=number(info.get("LVedv", "")),
        esv_ml=number(info.get("LVesv", "")),
    )


def read_info(folder: Path, view_name: str) -> dict[str, str]:
    """``Info_4CH.cfg`` or ``Info_2CH.cfg``: lines of ``Key: value``; empty where there is none."""
    path = folder / f"Info_{view_name}.cfg"
    if not path.is_file():
        return {}
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key.strip(): value.strip() for key, separator, value in lines if separator}


def read_split_lists(root: Path) -> dict[str, tuple[Path, list[str]]]:
    """Split to its official list and the patients on it, from ``root``, below it, or ``database_split`` beside it."""
    found: dict[str, tuple[Path, list[str]]] = {}
    for split, name in SPLIT_FILES.items():
        places = [*sorted(root.rglob(name)), root.parent / SPLIT_FOLDER / name]
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found[split] = (path, path.read_text(encoding="utf-8", errors="replace").split())
    return found


def read_patient_table(path: Path) -> dict[str, dict[str, str]]:
    """``patients_info.csv`` by patient; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["Patient"]: row for row in csv.DictReader(stream) if row.get("Patient")}
