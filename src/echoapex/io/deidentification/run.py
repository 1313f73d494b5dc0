"""De-identify folders, archives and files: one file after the other, resumable, with a proof at the end.

A file that cannot be cleaned is refused with a reason, and the rest goes on. A file is done when its record is there;
the same command with the same key and settings completes an interrupted run. New names hold keyed digests only:
``PATIENT/STUDY/FILE.dcm``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from echoapex.io.archive import extract_members
from echoapex.io.clip_file import ClipFile, ClipKind
from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification.instance import Method, clean_instance, write_instance
from echoapex.io.deidentification.profile import edition
from echoapex.io.deidentification.proof import (
    Proof,
    RefusedFile,
    RunSettings,
    read_record,
    read_records,
    record_of,
    write_proof,
    write_record,
)
from echoapex.io.deidentification.text_search import TextSearchError
from echoapex.io.deidentify import FileNames
from echoapex.io.file_format import file_digest
from echoapex.io.study_files import find_clips
from echoapex.io.temporary_files import TemporaryFolder, remove_abandoned_partials, replace_when_complete
from echoapex.version import __version__

_KINDS = {
    ClipKind.VIDEO: "a video",
    ClipKind.STILL_IMAGE: "a still image",
    ClipKind.IMAGE_SERIES: "a series of still images",
    ClipKind.VOLUME: "a volume",
}


class OutputError(ValueError):
    """The output folder cannot be used; the message says what to do."""


@dataclass
class RunSummary:
    """What a run did: files written now, files done before, and the refused ones."""

    written: int = 0
    done_before: int = 0
    refused: list[ReadError] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Files that are there now."""
        return self.written + self.done_before


Progress = Callable[[str, str], None]
"""Told after each file: its keyed name, and what became of it."""


def check_places(sources: Sequence[Path], out: Path, secrets: Sequence[Path] = ()) -> None:
    """Refuse an output folder inside a source, or around one: the next run would read its own results.

    Args:
        sources: what is read.
        out: folder of the results, which leaves the house.
        secrets: files that must not be in it.

    Raises:
        OutputError: they overlap, or the output is a file.
    """
    target = out.resolve()
    for secret in secrets:
        if secret.resolve().is_relative_to(target):
            raise OutputError("the key and the file of names must not lie in OUT, which may leave the house")
    if target.exists() and not target.is_dir():
        raise OutputError("OUT is a file; give a folder")
    for source in sources:
        place = source.resolve()
        if target == place or target.is_relative_to(place) or (place.is_relative_to(target) and place.exists()):
            raise OutputError("OUT and the source lie inside each other; give a folder somewhere else")


def deidentify_files(
    sources: Sequence[Path], out: Path, method: Method, names: FileNames, progress: Progress = lambda *_: None
) -> RunSummary:
    """De-identify every DICOM ultrasound image in ``sources`` into ``out``.

    Args:
        sources: files, folders, DICOMDIRs and zip archives.
        out: folder for the results.
        method: profile, key and recogniser.
        names: gives keyed names to the sources, for messages.
        progress: told after each file.

    Returns:
        What was done. ``proof.json`` and ``proof.html`` are in ``out``, also after an interrupt.

    Raises:
        OutputError: ``out`` overlaps a source.
        TextSearchError: the recogniser failed.
    """
    check_places(sources, out)
    out.mkdir(parents=True, exist_ok=True)
    for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
        remove_abandoned_partials(folder)
    summary = RunSummary()
    run = _Run(out, method, summary)
    is_complete = False
    try:
        for found in find_clips(sources, limits=method.limits, names=names):
            progress(*run.take(found))
        is_complete = True
    finally:
        run.prove(is_complete)
    return summary


def describe(method: Method) -> RunSettings:
    """The settings of a run, for the proof."""
    profile, searched = method.profile, method.reader is not None
    return RunSettings(
        software=f"EchoApex {__version__}",
        standard=edition(),
        profile="Basic Application Confidentiality Profile, with a closed list of what else may stay",
        options=[option.value for option in sorted(profile.options)],
        method_codes=dict(profile.method_codes(text_was_searched=searched)),
        longitudinal_information=profile.longitudinal_information,
        text_search="searched with RapidOCR before and after blanking; what was found is blanked"
        if searched
        else "NOT searched: only pixels outside the fan were blanked",
    )


def write_names(path: Path, names: FileNames) -> None:
    """Write which source each keyed name stands for, readable by its owner only; it identifies patients.

    Raises:
        OutputError: the file cannot be written.
    """
    files: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # no earlier one
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    files |= {name: place.encode("utf-8", "replace").decode() for name, place in names.originals.items()}
    content = {"notice": "Names of patients may be in these paths: keep this file secret.", "files": files}
    try:
        with replace_when_complete(path) as partial:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(content, stream, indent=1)
    except OSError as error:
        raise OutputError(f"the file of names cannot be written ({error.strerror}); check --names") from None


class _Run:
    """One run: what is the same for every file."""

    def __init__(self, out: Path, method: Method, summary: RunSummary) -> None:
        self._out = out
        self._method = method
        self._summary = summary
        settings = json.dumps([describe(method).model_dump(), method.key.pseudonym("settings", "")])
        self._settings = hashlib.sha256(settings.encode()).hexdigest()[:16]

    def take(self, found: ClipFile | ReadError) -> tuple[str, str]:
        """Clean one file; its keyed name, and what became of it."""
        if isinstance(found, ReadError):
            return self._refuse(found)
        name = found.display_name
        try:
            return name, self._clean(found)
        except ReadError as error:
            return self._refuse(error)
        except TextSearchError:
            raise
        except OSError as error:
            return self._refuse(
                ReadError(name, f"cannot be processed ({error.strerror})", "check disk and permissions")
            )
        except Exception as error:  # its text may quote the file
            reason = f"failed unexpectedly ({type(error).__name__})"
            return self._refuse(ReadError(name, reason, "report this as a bug, without the file"))

    def prove(self, is_complete: bool) -> None:
        """Write the proof; files in the folder that were made otherwise are named: it does not cover them."""
        records = read_records(self._out)
        if is_complete:
            self._summary.refused += [
                ReadError(
                    record.file, "is in OUT, made with another key or other options", "give an empty folder as OUT"
                )
                for record in records
                if record.settings != self._settings
            ]
        proof = Proof(
            complete=is_complete,
            settings=describe(self._method),
            files=[record for record in records if record.settings == self._settings],
            refused=[RefusedFile(file=e.path, reason=e.reason, remedy=e.remedy) for e in self._summary.refused],
        )
        write_proof(self._out, proof)

    def _refuse(self, error: ReadError) -> tuple[str, str]:
        self._summary.refused.append(error)
        return error.path, f"refused: {error.reason}; {error.remedy}"

    def _clean(self, clip: ClipFile) -> str:
        name = clip.display_name
        if clip.kind is not ClipKind.DICOM:
            raise ReadError(
                name,
                f"is {_KINDS[clip.kind]}, no DICOM, so that nothing says whose it is",
                "export DICOM; echoapex ingest makes a de-identified store of any clip",
            )
        with _on_disk(clip) as path:
            file = self._method.key.pseudonym("file", file_digest(path, name))
            earlier = read_record(self._out, file)
            if earlier is not None and earlier.settings == self._settings and (self._out / earlier.file).is_file():
                self._summary.done_before += 1
                return "done before"
            dataset, done, _ = clean_instance(path, name, self._method)
            target = f"{done.header.patient}/{done.header.study}/{file}.dcm"
            write_instance(self._out / target, dataset, done, self._method.limits)
            write_record(self._out, file, record_of(target, self._settings, done))
        self._summary.written += 1
        count = len(done.pixels.texts or ())
        return f"written, {count} texts blanked in the ultrasound" if count else "written"


@contextmanager
def _on_disk(clip: ClipFile) -> Iterator[Path]:
    """The file of a clip; a packed one is extracted to a private folder meanwhile."""
    if not clip.is_packed:
        yield clip.path
        return
    workspace = TemporaryFolder(clip.work_dir)
    try:
        yield extract_members(clip.path, clip.members, workspace.folder, clip.display_name)[0]
    finally:
        workspace.delete()
