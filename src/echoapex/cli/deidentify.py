"""``echoapex deidentify``: ultrasound DICOM without anything that names a patient, and a proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn

from echoapex.cli.console import ERRORS, ExitCode, TerminalProgress, complain, examples

if TYPE_CHECKING:
    from echoapex.io.deidentification.profile import Profile
    from echoapex.io.deidentification.run import RunSummary
    from echoapex.io.deidentification.text_search import TextReader

app = App(
    name="deidentify",
    help="De-identify ultrasound DICOM by the standard's profile, header and pixels, with a proof.",
    help_epilogue=examples(
        "echoapex deidentify studies/ --out clean/",
        "echoapex deidentify studies/ --out clean/ --key project.key --retain modified-dates "
        "--retain patient-characteristics",
    ),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Confidentiality:
    """What may stay.

    Attributes:
        profile: the Basic Application Confidentiality Profile of DICOM PS3.15.
        retain: what stays, by the options of the standard: uids, device, institution, patient-characteristics,
            full-dates, modified-dates. Give it several times for several options.
        clean: what is cleaned instead of removed: descriptors, of which words of a closed list stay.
        no_ocr: do not search for burned-in text. Only clips of which nothing but a fan stays are written then.
    """

    profile: Literal["basic"] = "basic"
    retain: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    clean: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    no_ocr: Annotated[bool, Parameter(negative=())] = False


@app.default
def deidentify(
    *sources: Path,
    out: Path,
    key: Path | None = None,
    names: Path | None = None,
    confidentiality: Confidentiality | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """De-identify ultrasound DICOM by the standard's profile, header and pixels, with a proof.

    Everything outside the ultrasound is blanked, and text inside it is searched and blanked. OUT holds the new files,
    proof.json and proof.html. A file that cannot be cleaned is refused with a reason, and the rest goes on. The same
    command completes an interrupted run.

    Args:
        sources: folders, DICOMDIRs, zip archives, files.
        out: folder for the results; it may leave the house.
        key: file of the project's secret key, made when it is missing; by default OUT.key beside OUT. The same key
            gives the same pseudonyms, UIDs and date shifts.
        names: file that says which source each name in a message stands for, to be kept secret; by default
            OUT.names.json beside OUT.
        confidentiality: what may stay.
        quiet: show refused files only.
    """
    confidentiality = confidentiality or Confidentiality()
    if not sources:
        complain("deidentify", "give at least one folder or file")
        return ExitCode.USAGE
    # slow to load: not before the arguments are known to be good
    from echoapex.io.clip_source import ReadLimits
    from echoapex.io.deidentification.instance import Method
    from echoapex.io.deidentification.profile import ProfileError
    from echoapex.io.deidentification.project_key import ProjectKeyError, read_or_create_project_key
    from echoapex.io.deidentification.run import OutputError, check_places, deidentify_files, write_names
    from echoapex.io.deidentification.text_search import TextSearchError
    from echoapex.io.deidentify import FileNames

    key, names = key or _beside(out, ".key"), names or _beside(out, ".names.json")
    try:
        check_places(sources, out, secrets=(key, names))
        profile, reader = _read_choice(confidentiality)
        project, is_new = read_or_create_project_key(key)
        if is_new and not quiet:
            ERRORS.print(f"made the secret key {key}: keep it, and keep it away from {out}", markup=False)
        called = FileNames(project.derive("names", ""))
        with _Bar(quiet=quiet) as bar:
            try:
                method = Method(profile, project, reader, ReadLimits())
                summary = deidentify_files(sources, out, method, called, bar.finished)
            finally:
                write_names(names, called)
    except (ProfileError, ProjectKeyError, OutputError, TextSearchError) as error:
        complain("deidentify", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("deidentify", f"the results cannot be written ({error.strerror}); check permissions and disk")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        complain("deidentify", "interrupted; what was written is whole, the same command completes it")
        return ExitCode.INTERRUPTED
    _summarise(summary, out, quiet)
    if not summary.count:
        return ExitCode.NOTHING_ANALYSED
    return ExitCode.SOME_FILES_FAILED if summary.refused else ExitCode.ALL_GOOD


def _read_choice(chosen: Confidentiality) -> tuple[Profile, TextReader | None]:
    """The profile, and the recogniser unless it is not wanted."""
    from echoapex.io.deidentification.profile import Profile, parse_options
    from echoapex.io.deidentification.text_search import RapidTextReader

    profile = Profile(parse_options(chosen.retain, chosen.clean))
    return profile, None if chosen.no_ocr else RapidTextReader()


def _beside(out: Path, ending: str) -> Path:
    folder = out.absolute()
    return folder.with_name(folder.name + ending)


def _summarise(summary: RunSummary, out: Path, quiet: bool) -> None:
    for error in summary.refused:
        ERRORS.print(str(error), markup=False)
    if not quiet:
        before = f" ({summary.done_before} of them before)" if summary.done_before else ""
        ERRORS.print(f"{summary.count} files written{before}, {len(summary.refused)} refused", markup=False)
        ERRORS.print(f"what was removed, kept and why: {out / 'proof.html'}", markup=False)


class _Bar(TerminalProgress):
    """Which file was done last, and how many are done."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(
            SpinnerColumn(),
            BarColumn(bar_width=28),
            TextColumn("{task.completed} files"),
            TextColumn("{task.description}"),
            quiet=quiet,
        )
        self._task = self._progress.add_task("looking for files", total=None)

    def finished(self, name: str, outcome: str) -> None:
        """A file is done."""
        self._progress.update(self._task, advance=1, description=f"{escape(name)} {escape(outcome)[:40]}")
