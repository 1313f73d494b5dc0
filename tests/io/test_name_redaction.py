"""Names without the patient."""

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from echoapex.io.name_redaction import clip_id_of, identifying_words, redact


def _dicom(**elements: object) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


HEAD = _dicom(
    PatientName="Musterfrau^Erika^Lee", PatientID="MRN-004711", PatientBirthDate="19510829", AccessionNumber="ACC99"
)


@pytest.mark.parametrize(
    "name",
    ["Musterfrau_Erika_A4C.dcm", "erika.dcm", "MRN-004711", "19510829-echo", "musterfrauerika.dcm", "lee.dcm", "acc99"],
)
def test_identifying_words_are_taken_out(name: str) -> None:
    shown = redact(name, identifying_words(HEAD)).lower()

    assert not any(word in shown for word in ("musterfrau", "erika", "004711", "19510829", "acc99"))
    assert shown != name.lower()


@pytest.mark.parametrize("name", ["A4C.dcm", "study-000123/PLAX.dcm", "sleeve.dcm", "1.2.840.113.dcm"])
def test_other_names_stay(name: str) -> None:
    assert redact(name, identifying_words(HEAD)) == name


def test_the_same_word_is_masked_alike() -> None:
    words = identifying_words(HEAD)
    assert redact("Erika_1.dcm", words).replace("_1", "_2") == redact("ERIKA_2.dcm", words)


def test_a_dicom_name_is_known_without_header() -> None:
    assert "doe" not in redact("DOE^JOHN", ()).lower()


@pytest.mark.parametrize("head", [b"", b"no dicom", HEAD[:140], HEAD[:-30]])
def test_a_header_that_cannot_be_parsed_has_no_words_and_raises_nothing(head: bytes) -> None:
    assert isinstance(identifying_words(head), frozenset)


def test_clip_ids_are_safe_and_differ() -> None:
    ids = {clip_id_of(name) for name in ("a/A4C.dcm", "b/A4C.dcm", "../x y?.avi", "...", "\udcff.dcm")}

    assert len(ids) == 5
    assert all(set(each) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") for each in ids)
