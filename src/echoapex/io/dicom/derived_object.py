"""What every DICOM object that EchoApex derives from images has: who made it, a UID of its own, and a file."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from echoapex.io.dicom.writer import derive_uid
from echoapex.io.temporary_files import replace_when_complete

MANUFACTURER = "EchoApex"


@dataclass(frozen=True)
class Software:
    """What made the values: recorded as observer, as equipment and as algorithm.

    Attributes:
        version: of EchoApex.
        bundle: name of the set of weights.
        digests: sha256 of the weights, by name.
        disclaimer: what the software is not.
    """

    version: str
    bundle: str
    digests: Mapping[str, str]
    disclaimer: str

    @property
    def weights_digest(self) -> str:
        """One sha256 for all weights together."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.digests.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def device_uid(self) -> UID:
        """The UID of the observer: the same software with the same weights has the same."""
        return derive_uid("device", self.version, self.weights_digest)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The set and each of its weights, as text."""
        weights = (f"{name} sha256 {digest}" for name, digest in sorted(self.digests.items()))
        return (f"set of weights {self.bundle}", *weights)


def new_uid() -> UID:
    """A UID that no object has (PS3.5 B.2): each report is an instance of its own."""
    return UID(f"2.25.{uuid.uuid4().int}")


def write_object(path: Path, dataset: Dataset) -> Path:
    """Write a DICOM object, completely or not at all."""
    with replace_when_complete(path) as partial:
        dataset.save_as(partial, enforce_file_format=True)
    return path
