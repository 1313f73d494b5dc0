"""Small archives, DICOMDIRs and MetaImages written on the spot, good and hostile, for the tests of the readers."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def mark_encrypted(path: Path, *names: str) -> Path:
    """Set the encryption bit of members (of all without names), in the local headers and in the directory."""
    content = bytearray(path.read_bytes())
    for signature, flags_at, length_at, name_at in ((b"PK\x03\x04", 6, 26, 30), (b"PK\x01\x02", 8, 28, 46)):
        start = content.find(signature)
        while start >= 0:
            (length,) = struct.unpack_from("<H", content, start + length_at)
            name = content[start + name_at : start + name_at + length].decode()
            if not names or name in names:
                content[start + flags_at] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(bytes(content))
    return path


def write_dicomdir(folder: Path, *file_ids: list[str] | str) -> Path:
    """A DICOMDIR with one IMAGE record for each file ID, and a PATIENT record that is no file."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["dicomdir"])
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    patient = Dataset()
    patient.DirectoryRecordType, patient.PatientName = "PATIENT", "Quartz^Aurelia"
    records = [patient]
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", file_id
        records.append(record)
    directory.DirectoryRecordSequence = records
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def write_meta_image(path: Path, samples: np.ndarray, data: bytes | None = None, **keys: object) -> Path:
    """A MetaImage whose samples (x first) lie in the file that ``ElementDataFile`` names."""
    header: dict[str, object] = {
        "ObjectType": "Image",
        "NDims": samples.ndim,
        "DimSize": " ".join(map(str, samples.shape)),
        "ElementType": {"u1": "MET_UCHAR", "i2": "MET_SHORT", "f4": "MET_FLOAT"}[samples.dtype.str[1:]],
        "ElementSpacing": " ".join(["0.3", "0.4", "1"][: samples.ndim]),
    }
    header |= {key: value for key, value in keys.items() if key != "ElementDataFile"}
    named = keys.get("ElementDataFile", path.stem + ".raw")
    text = "".join(f"{key} = {value}\n" for key, value in header.items()) + f"ElementDataFile = {named}\n"
    data = samples.tobytes(order="F") if data is None else data
    path.write_bytes(text.encode() + (data if named == "LOCAL" else b""))
    if str(named).endswith("raw") and "/" not in str(named) and "\\" not in str(named):
        (path.parent / str(named)).write_bytes(data)
    return path
