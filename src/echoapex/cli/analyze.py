"""``echoapex analyze``: analyse a study and write its values with their evidence."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, ProgressBar, complain, examples
from echoapex.cli.remote_places import analyze_remote, is_remote, remote_mistake
from echoapex.domain import StudyReport
from echoapex.domain.results import DISCLAIMER
from echoapex.vocabulary import Probe

if TYPE_CHECKING:
    from echoapex.infer.clip.reading import AnalysisOptions
    from echoapex.infer.outputs.dicom_files import DicomOutput
    from echoapex.infer.outputs.report_files import ReportOutput
    from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
    from echoapex.io.local_engine import Engine

app = App(
    name="analyze",
    help="Analyse echocardiograms: views, contours, volumes, ejection fraction, walls, with their evidence.\n\n"
    f"{DISCLAIMER}",
    help_epilogue=examples("echoapex analyze study/ --out results/", "echoapex analyze study.zip clip.avi --json"),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Choices:
    """How to analyse.

    Attributes:
        bundle: name or folder of the set of weights; `echoapex models list` shows them.
        device: where the models run.
        precision: of the encoder; auto is bf16 where the machine is fast at it, else fp32.
        contours: draw contours over the whole cycle, or at end-diastole and end-systole only, which is faster.
        probe: the kind of transducer, if it is known; views of other kinds are then excluded.
        overlays: write one overlay video per clip.
        keep_identifiers: let file names, patient data and pixels outside the sector into the outputs.
        dicom_sr: write structured reports into OUT/dicom; they name patient and study, as their DICOM sources do.
        dicom_sr_template: templates of the structured reports; may be given several times. 5300 is for echo reporting
            systems, 1500 for general viewers, 5200 for older systems; by default 5300 and 1500.
        dicom_seg: write segmentation objects into OUT/dicom; they name patient and study, as their DICOM sources do.
        dicom_sc: write pictures with outlines and values into OUT/dicom, as a secondary capture for any viewer.
        report: write the report of each study as HTML and PDF: values, limits, pictures, curves and evidence.
        fhir: write a FHIR R4 bundle of each study into OUT/fhir.
        cohort: write one table with a row for each value of each study, with LOINC codes and normal limits.
        names: file that says which input file each clip is, to be kept secret; by default OUT.names.json beside OUT.
    """

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    contours: Literal["cycle", "ed_es"] = "cycle"
    probe: Literal["any", "tte", "tee", "ice"] = "any"
    overlays: bool = True
    keep_identifiers: bool = False
    dicom_sr: Annotated[bool, Parameter(negative=())] = False
    dicom_sr_template: Annotated[tuple[Literal["5300", "5200", "1500"], ...], Parameter(negative=())] = ()
    dicom_seg: Annotated[bool, Parameter(negative=())] = False
    dicom_sc: Annotated[bool, Parameter(negative=())] = False
    report: Annotated[bool, Parameter(negative=())] = False
    fhir: Annotated[bool, Parameter(negative=())] = False
    cohort: Literal["none", "csv", "parquet", "both"] = "none"
    names: Path | None = None

    @property
    def writes_dicom(self) -> bool:
        """Whether DICOM objects were asked for."""
        return self.dicom_sr or self.dicom_seg or self.dicom_sc

    @property
    def writes_reports(self) -> bool:
        """Whether a report, a FHIR bundle or a table was asked for."""
        return self.report or self.fhir or self.cohort != "none"


@Parameter(name="*")
@dataclass(frozen=True)
class ClipWorkers:
    """How the clips are divided.

    Attributes:
        workers: processes; with 2 or more, each loads the weights and computes with one thread.
        engine: processes on this machine, or Ray on many; Ray computes on processors, not on graphics cards.
        ray_address: head node of a running Ray cluster, host:port; without it Ray is started on this machine.
    """

    workers: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None

    @property
    def are_many(self) -> bool:
        """Whether other processes analyse the clips."""
        return self.engine == "ray" or (self.workers or 1) > 1

    def build(self) -> Engine:
        """The engine."""
        from echoapex.io.local_engine import LocalEngine
        from echoapex.io.ray_engine import RayEngine

        return RayEngine(self.ray_address, self.workers) if self.engine == "ray" else LocalEngine(self.workers or 1)


@Parameter(name="*")
@dataclass(frozen=True)
class Messages:
    """Which messages are shown.

    Attributes:
        as_json: print the results as JSON on standard output.
        quiet: show errors only.
        debug: stop at an internal error with its traceback, which may quote the input.
    """

    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
    quiet: Annotated[bool, Parameter(negative=())] = False
    debug: Annotated[bool, Parameter(negative=())] = False


@app.default
def analyze(
    *paths: Path,
    out: Path | None = None,
    choices: Choices | None = None,
    workers: ClipWorkers | None = None,
    messages: Messages | None = None,
) -> int:
    """Analyse echocardiograms: views, contours, volumes, ejection fraction, walls, with their evidence.

    Research software, not a medical device: not for diagnosis or treatment.

    The same command completes an interrupted run: finished clips are not done again. A path that does not exist becomes
    a row of errors.csv when another one does.

    Args:
        paths: files, folders, DICOMDIRs or zip archives; DICOM, AVI, MP4, GIF, PNG, JPEG, NIfTI, MHD; a study at a
            DICOMweb server, as dicomweb://HOST/PREFIX/studies/UID or https://HOST/PREFIX/studies/UID; a folder or file
            in an object store, as s3://BUCKET/FOLDER.
        out: folder for results.json, measurements.csv, preview.png, overlays, masks, manifest.json and errors.csv; or
            s3://BUCKET/FOLDER, which needs --names.
        choices: how to analyse.
        workers: how the clips are divided.
        messages: which messages are shown.
    """
    choices, workers, messages = choices or Choices(), workers or ClipWorkers(), messages or Messages()
    if not any(map(is_remote, (*paths, out))):
        return _analyze_files(paths, out, choices, workers, messages)
    mistake = remote_mistake(paths, out, choices.names, keeps_names=choices.keep_identifiers)
    # before anything is fetched; what is fetched will exist
    known = tuple(Path() if is_remote(path) else path for path in paths)
    mistake = mistake or _usage_mistake(known, out, choices, messages) or _worker_mistake(out, choices, workers)
    if mistake:
        complain("analyze", mistake)
        return ExitCode.USAGE

    def analyze_here(places: tuple[Path, ...], folder: Path | None) -> int:
        return _analyze_files(places, folder, choices, workers, messages)

    return analyze_remote(paths, out, analyze_here, quiet=messages.quiet)


def _analyze_files(
    paths: tuple[Path, ...], out: Path | None, choices: Choices, workers: ClipWorkers, messages: Messages
) -> int:
    """Analyse what lies on this machine."""
    if mistake := _usage_mistake(paths, out, choices, messages) or _worker_mistake(out, choices, workers):
        complain("analyze", mistake)
        return ExitCode.USAGE
    # the models load slowly: not before the arguments are known to be good
    from echoapex.infer.clip.reading import AnalysisOptions
    from echoapex.infer.outputs.dicom_files import DicomOutputError
    from echoapex.infer.outputs.files import NameMapError, results_text
    from echoapex.infer.outputs.report_files import ReportOutputError
    from echoapex.infer.study.analyze import AnalysisError
    from echoapex.io.local_engine import EngineError
    from echoapex.models.bundle import BundleError
    from echoapex.models.precision import DeviceError

    options = AnalysisOptions(
        contours=choices.contours,
        precision=choices.precision,
        probe=None if choices.probe == "any" else Probe(choices.probe.upper()),
        overlays=choices.overlays,
        keep_identifiers=choices.keep_identifiers,
    )
    try:
        dicom, reports = _outputs_on_request(choices)
        device = "cpu" if workers.engine == "ray" else choices.device
        models, advice = _load_models(choices, device, quiet=messages.quiet)
        with ProgressBar(quiet=messages.quiet) as bar:
            analyzer = _build_analyzer((models, choices.bundle), options, bar, workers, debug=messages.debug)
            report = analyzer.run(paths, out, choices.names, dicom, reports)
    except (
        BundleError,
        DeviceError,
        AnalysisError,
        DicomOutputError,
        EngineError,
        NameMapError,
        ReportOutputError,
    ) as error:
        complain("analyze", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("analyze", f"the results cannot be written ({error.strerror}); choose another --out")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        complain("analyze", "interrupted; what was finished is written, the same command completes it")
        return ExitCode.INTERRUPTED
    if messages.as_json:
        sys.stdout.write(results_text(report))
    elif not messages.quiet:
        _summarise(report, out, with_values=not workers.are_many)
    if advice and not messages.quiet and exit_code_of(report) != ExitCode.NOTHING_ANALYSED:
        complain("analyze", advice)
    return exit_code_of(report)


def _load_models(choices: Choices, chosen_device: str, *, quiet: bool) -> tuple[NamedInterpreter, str]:
    """The models with what is recorded of them, and a line of advice about weights that saw no patient."""
    from echoapex.infer.clip.models import TaskInterpreter
    from echoapex.infer.outputs.reported_studies import describe_weights
    from echoapex.infer.study.analyze import NamedInterpreter
    from echoapex.models.precision import choose_device, choose_precision
    from echoapex.models.registry import find_set
    from echoapex.models.simulated_weights import SIMULATED_NOTE, advise_patients

    device = choose_device(chosen_device)
    precision = choose_precision(choices.precision, device)
    if precision.warning and not quiet:
        complain("analyze", precision.warning)
    interpreter = TaskInterpreter.load(choices.bundle, chosen_device, precision.name)
    paths = find_set(choices.bundle)
    advice = advise_patients(paths)
    note = SIMULATED_NOTE if advice else ""
    weights = describe_weights(interpreter.digests, paths)
    name = paths.name
    return NamedInterpreter(interpreter, name, str(device), precision.name, note, weights), advice


def _build_analyzer(
    models: tuple[NamedInterpreter, str],
    options: AnalysisOptions,
    bar: ProgressBar,
    workers: ClipWorkers,
    *,
    debug: bool,
) -> StudyAnalyzer:
    """What analyses: this process, or the workers of an engine; ``models`` come with the name to load them by."""
    from echoapex.infer.study.analyze import StudyAnalyzer

    named, bundle = models
    if not workers.are_many:
        return StudyAnalyzer(named, options, bar, raise_unexpected=debug)
    from echoapex.infer.study.cohort import CohortAnalyzer, WorkerModels
    from echoapex.models.registry import DEFAULT_SET, default_set_name

    bundle = default_set_name() if bundle == DEFAULT_SET else bundle  # another machine may have another default
    source = WorkerModels(bundle, named.device, named.precision)
    return CohortAnalyzer(named, source, workers.build(), options, bar, raise_unexpected=debug)


def _outputs_on_request(choices: Choices) -> tuple[DicomOutput | None, ReportOutput | None]:
    """What writes DICOM objects, and what writes reports; None for what was not asked for."""
    from echoapex.infer.outputs.dicom_files import USUAL_TEMPLATES, DicomOutput, ReportTemplate
    from echoapex.infer.outputs.report_files import ReportOutput

    templates = tuple(ReportTemplate(number) for number in choices.dicom_sr_template) or USUAL_TEMPLATES
    wanted = (choices.dicom_sr, choices.dicom_seg, choices.dicom_sc)
    dicom = DicomOutput(*wanted, templates) if choices.writes_dicom else None
    reports = ReportOutput(choices.report, choices.fhir, choices.cohort) if choices.writes_reports else None
    return dicom, reports


def _usage_mistake(paths: tuple[Path, ...], out: Path | None, choices: Choices, messages: Messages) -> str:
    """What is wrong with the arguments; empty where nothing is."""
    if not paths:
        return "nothing was given to analyse; give a file, a folder or a zip archive"
    if out is None and not messages.as_json:
        return "where should the results go? Give --out FOLDER, or --json to print them"
    if choices.dicom_sr_template and not choices.dicom_sr:
        return "--dicom-sr-template is for --dicom-sr; give that as well"
    if out is None and choices.writes_dicom:
        return "--dicom-sr, --dicom-seg and --dicom-sc write files; give --out FOLDER"
    if out is None and choices.writes_reports:
        return "--report, --fhir and --cohort write files; give --out FOLDER"
    if not any(_exists(path) for path in paths):
        named = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and the other {len(paths) - 1}"
        return f"{named}: {'does' if len(paths) == 1 else 'do'} not exist; check the path"
    return ""


def _worker_mistake(out: Path | None, choices: Choices, workers: ClipWorkers) -> str:
    """What is wrong with the division of the work; empty where nothing is."""
    if workers.ray_address and workers.engine != "ray":
        return "--ray-address is for --engine ray"
    if workers.are_many and out is None:
        return "several workers write files; give --out FOLDER"
    if workers.ray_address and is_remote(out):
        return "a Ray cluster writes to a folder that all its machines share; give --out FOLDER"
    if workers.engine == "ray" and choices.device not in ("auto", "cpu"):
        return f"--engine ray computes on processors; leave out --device {choices.device}, or use --engine local"
    return ""


def _exists(path: Path) -> bool:
    """Whether something is there; a file in a folder that may not be searched counts, and is an error row later."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        return False
    except OSError:
        return True
    return True


def exit_code_of(report: StudyReport) -> ExitCode:
    """The exit code that a report stands for."""
    if not any(not clip.set_aside for clip in report.clips):
        return ExitCode.NOTHING_ANALYSED
    return ExitCode.SOME_FILES_FAILED if report.errors else ExitCode.ALL_GOOD


def _summarise(report: StudyReport, out: Path | None, *, with_values: bool) -> None:
    """The study's values as a table for people, and where the rest lies; of a cohort the counts only."""
    from echoapex.infer.outputs.clip_pictures import value_text

    table = Table("value", "", "method", "from", box=None, pad_edge=False, header_style="dim")
    for item in report.measurements:
        clips = dict.fromkeys(evidence.clip_id for evidence in item.evidence)
        table.add_row(item.quantity.display_name, value_text(item), item.method, ", ".join(clips))
    if report.measurements and with_values:
        ERRORS.print(table)
    if report.lvh.category and with_values:
        ERRORS.print(f"LV geometry: {report.lvh.category}")
    aside = sum(1 for clip in report.clips if clip.set_aside)
    analysed = len(report.clips) - aside
    ERRORS.print(f"{analysed} analysed, {aside} set aside, {len(report.errors)} failed; see {out}", markup=False)
    for note in report.notes:
        ERRORS.print(note, markup=False)
    ERRORS.print(report.disclaimer, style="dim")
