"""Names of files without the patient in them.

People name files and folders after patients. The words that the header of a DICOM file marks as identifying (patient
name, ID, birth date, accession number) are taken out of every name that is shown; a name that looks like DICOM's own
``FAMILY^GIVEN`` is replaced whole. Words that no header marks cannot be known and stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from io import BytesIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from echoapex.io.dicom_values import muted_pydicom, text_of

HEAD_BYTES = 128 * 1024
"""How much of a DICOM file is looked through; patient elements come before anything large."""

_WHOLE = ("PatientID", "PatientBirthDate", "AccessionNumber")
_PATIENT_GROUP_END = 0x00101000
_LEAST_LENGTH = 3
_CLIP_ID_STEM = 40
_CLIP_ID_DIGITS = 8


def identifying_words(head: bytes) -> frozenset[str]:
    """The identifying words in the header of a DICOM file that starts with ``head``, in lower case.

    A header that cannot be parsed has none.
    """
    try:
        with muted_pydicom():
            dataset = read_partial(
                BytesIO(head),
                stop_when=lambda tag, *_: int(tag) > _PATIENT_GROUP_END,
                force=True,
                specific_tags=[tag for tag in map(tag_for_keyword, ("PatientName", *_WHOLE)) if tag is not None],
            )
            return _words(dataset)
    except Exception:  # whatever pydicom trips over: the reader will say what is wrong with the file
        return frozenset()


def redact(name: str, words: Collection[str]) -> str:
    """``name`` with every identifying word replaced by a short digest of it.

    >>> redact("doe_jane_A4C.dcm", {"doe", "jane"}).endswith("_A4C.dcm")
    True
    >>> redact("plax.dcm", {"lax"})
    'plax.dcm'
    """
    if "^" in name:
        return _mask(name.lower())
    for word in sorted(words, key=lambda word: (-len(word), word)):
        # a short word must stand alone, or "lee" would hide "sleeve"
        pattern = re.escape(word) if len(word) > 5 else rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
        name = re.sub(pattern, _mask(word), name, flags=re.IGNORECASE)
    return name


def clip_id_of(display_name: str) -> str:
    """A name for a clip that is safe as a file name anywhere: the stem of its display name and a digest of the whole.

    >>> clip_id_of("study 7/A4C.dcm")
    'A4C-f29a66be'
    """
    last = display_name.rsplit("/", 1)[-1]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", last.partition(".")[0] or last).strip("-")[:_CLIP_ID_STEM] or "clip"
    return f"{stem}-{hashlib.sha256(display_name.encode('utf-8', 'surrogateescape')).hexdigest()[:_CLIP_ID_DIGITS]}"


def _words(dataset: Dataset) -> frozenset[str]:
    name_parts = re.split(r"[\s^=.,]+", text_of(dataset, "PatientName").lower())
    found = {part for part in name_parts if not part.isdigit()}
    found |= {"".join(name_parts[:2]), "".join(name_parts[1::-1])}
    found |= {text_of(dataset, keyword).lower().strip() for keyword in _WHOLE}
    return frozenset(word for word in found if len(word) >= _LEAST_LENGTH)


def _mask(word: str) -> str:
    return f"x{hashlib.sha256(word.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
