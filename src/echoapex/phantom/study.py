"""Write whole phantom studies as DICOM with their truth; they are then read in the same way as real studies.

One study is one patient (one seed) in every view, imaged by one vendor's machine. A study is written into a hidden
folder, which is renamed when it is complete. So an interrupted run leaves no incomplete study, and the next run
completes it. The same seed and plan give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from echoapex.domain import Clip, ClipHeader
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.dicom.writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound
from echoapex.io.processes import ended_on_error, new_pool, run_stoppable
from echoapex.phantom.clip import SIMULATOR_VERSION, SMALLEST_SIZE, PhantomClip, simulate_clip
from echoapex.phantom.imaging import Imaging, sample_imaging
from echoapex.phantom.patient import Patient, Stream, random_stream, sample_patient
from echoapex.phantom.truth import (
    LABEL_FOLDER,
    ClipTruth,
    ClipWalls,
    PatientTruth,
    StudyTruth,
    TruthError,
    is_held_out,
    read_truth,
    write_label_maps,
    write_truth,
)
from echoapex.vocabulary import View

BEATS = 1.3
"""Beats per clip: a little more than one, so that the clip always contains ED and ES."""
MAX_FRAMES = 64
StudyLabels = Literal["ed_es", "all"]


class StudyPlanError(ValueError):
    """The plan cannot be carried out; the message says what to change."""


@dataclass(frozen=True)
class StudyPlan:
    """The content of a study.

    Attributes:
        views: the clips, in this order; all 18 by default.
        size: height and width of a frame in pixels.
        label_frames: label maps for ED and ES only, or for every frame.
        syntax: how the pixels are stored.
        ecg: whether the clips carry their ECG as a waveform.

    Raises:
        StudyPlanError: there is no view, a view occurs twice, or the size is too small.
    """

    views: tuple[View, ...] = tuple(View)
    size: int = 256
    label_frames: StudyLabels = "ed_es"
    syntax: UltrasoundSyntax = UltrasoundSyntax.JPEG_BASELINE
    ecg: bool = False

    def __post_init__(self) -> None:
        if not self.views or len(set(self.views)) != len(self.views):
            raise StudyPlanError("a study needs at least one view, and each view once; check the list of views")
        if self.size < SMALLEST_SIZE:
            raise StudyPlanError(f"size {self.size} is too small to show a heart; use {SMALLEST_SIZE} or more")
        if self.label_frames not in get_args(StudyLabels):
            raise StudyPlanError(
                f"label frames {self.label_frames!r} must be one of {', '.join(get_args(StudyLabels))}"
            )


def study_name(seed: int) -> str:
    """Name of a study folder: ``study-000123``."""
    return f"study-{seed:06d}"


def write_study(directory: Path, seed: int, plan: StudyPlan | None = None) -> StudyTruth:
    """Simulate one study and write it to ``directory``; a finished study of the same plan is kept.

    Args:
        directory: the study folder itself, for instance ``out/study-000123``.
        seed: the patient; below 1,000,000 for training, above that held out (:mod:`echoapex.phantom.truth`).
        plan: views, size, labels and syntax; by default all 18 views at 256 pixels.

    Returns:
        The truth, as written to ``truth.json``.

    Raises:
        StudyPlanError: the seed is negative, or the folder exists and has other content.
    """
    plan = plan or StudyPlan()
    if seed < 0:
        raise StudyPlanError(f"seed {seed} is negative; use 0 or more")
    if directory.exists():
        return _finished_study(directory, seed, plan)
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / LABEL_FOLDER).mkdir(parents=True)
        patient = sample_patient(seed)
        clips = tuple(_write_clip(partial, view, patient, plan) for view in plan.views)
        truth = _study_truth(patient, clips, plan)
        write_truth(partial, truth)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return truth


def write_studies(
    out: Path, *, studies: int, seed: int, plan: StudyPlan | None = None, workers: int = 1
) -> Iterator[Path]:
    """Write ``studies`` studies with the seeds ``seed, seed + 1, ...`` below ``out``; finished studies are kept.

    The studies are written while the caller iterates over the result.

    Args:
        out: folder for the study folders.
        studies: number of studies.
        seed: seed of the first patient.
        plan: as for :func:`write_study`.
        workers: number of processes; the bytes do not depend on it.

    Yields:
        The folder of each finished study, in order of seeds for one worker, of completion for several.

    Raises:
        StudyPlanError: there is nothing to do, or the run mixes training and held-out seeds.
    """
    if studies < 1 or workers < 1:
        raise StudyPlanError(f"{studies} studies with {workers} workers: both must be 1 or more")
    seeds = range(seed, seed + studies)
    if is_held_out(seeds[0]) != is_held_out(seeds[-1]):
        raise StudyPlanError(
            f"seeds {seeds[0]} to {seeds[-1]} mix patients for training and held-out ones; make two runs"
        )
    out.mkdir(parents=True, exist_ok=True)
    directories = [out / study_name(patient_seed) for patient_seed in seeds]
    if workers == 1:
        for directory, patient_seed in zip(directories, seeds, strict=True):
            write_study(directory, patient_seed, plan)
            yield directory
        return
    yield from _write_in_parallel(directories, seeds, plan, workers)


def _write_in_parallel(
    directories: Sequence[Path], seeds: Sequence[int], plan: StudyPlan | None, workers: int
) -> Iterator[Path]:
    with ended_on_error(new_pool(min(workers, len(seeds)), "spawn")) as pool:
        pending = {
            pool.submit(run_stoppable, write_study, directory, patient_seed, plan): directory
            for directory, patient_seed in zip(directories, seeds, strict=True)
        }
        for future in as_completed(pending):
            future.result()
            yield pending[future]


def _finished_study(directory: Path, seed: int, plan: StudyPlan) -> StudyTruth:
    try:
        truth = read_truth(directory)
    except TruthError as error:
        raise StudyPlanError(f"{directory}: exists and holds no finished study; remove it or choose another") from error
    # all frames of a clip have label maps if and only if the plan says so
    labelled: StudyLabels = "all" if len(truth.clips[0].label_frames) == len(truth.clips[0].frame_times_s) else "ed_es"
    written = StudyPlan(
        tuple(clip.view for clip in truth.clips),
        truth.image_size[0],
        labelled,
        UltrasoundSyntax(truth.transfer_syntax),
        ecg=_has_ecg(directory / truth.clips[0].file, planned=plan.ecg),
    )
    if (written, truth.seed, truth.simulator_version) != (plan, seed, SIMULATOR_VERSION):
        raise StudyPlanError(
            f"{directory}: holds a study of another seed, plan or simulator version; remove it or choose another folder"
        )
    missing = [clip.file for clip in truth.clips if not (directory / clip.file).is_file()]
    if missing:
        raise StudyPlanError(f"{directory}: {', '.join(missing)} went missing; remove the folder to write it again")
    return truth


def _has_ecg(path: Path, *, planned: bool) -> bool:
    """Whether a clip carries its ECG; what was planned if it cannot be read, since that is reported elsewhere."""
    try:
        return open_dicom(path).header.ecg is not None
    except ReadError:
        return planned


def _write_clip(directory: Path, view: View, patient: Patient, plan: StudyPlan) -> ClipTruth:
    seed = patient.seed
    imaging = sample_imaging(seed, view)
    clip = simulate_clip(
        view,
        seed,
        patient=patient,
        imaging=imaging,
        size=plan.size,
        frames=min(MAX_FRAMES, math.ceil(BEATS * patient.beat_s * imaging.frame_rate_hz)),
        beats=BEATS,
        start_phase=float(random_stream(seed, Stream.STUDY, list(View).index(view)).random()),
        label_frames=plan.label_frames,
    )
    study = _fictitious_study(patient, imaging)
    path = write_ultrasound(
        directory / f"{view}.dcm",
        Clip(_clip_header(clip, plan), clip.frames),
        study,
        instance=1 + list(View).index(view),
        syntax=plan.syntax,
    )
    label_file = f"{LABEL_FOLDER}/{view}.npz"
    write_label_maps(directory / label_file, clip.labels, (plan.size, plan.size))
    return _clip_truth(clip, path, label_file)


def _fictitious_study(patient: Patient, imaging: Imaging) -> FictitiousStudy:
    return FictitiousStudy(
        patient.seed,
        sex="M" if patient.sex == "M" else "F",
        age_years=patient.age_years,
        height_m=patient.height_m,
        weight_kg=patient.weight_kg,
        scanner=f"simulator, look {imaging.vendor}",
        software=SIMULATOR_VERSION,
    )


def _clip_header(clip: PhantomClip, plan: StudyPlan) -> ClipHeader:
    return ClipHeader(
        clip_id=str(clip.view),
        size=(clip.frames.shape[1], clip.frames.shape[2]),
        frame_times_s=tuple(map(float, clip.frame_times_s)),
        spacing=clip.spacing,
        sector=clip.sector,
        r_wave_times_s=clip.r_wave_times_s,
        ecg=clip.ecg if plan.ecg else None,
        heart_rate_bpm=clip.patient.heart_rate_bpm,
    )


def _clip_truth(clip: PhantomClip, path: Path, label_file: str) -> ClipTruth:
    return ClipTruth(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        view=clip.view,
        seed=clip.seed,
        size=(clip.frames.shape[1], clip.frames.shape[2]),
        frame_times_s=tuple(map(float, clip.frame_times_s)),
        r_wave_times_s=tuple(map(float, clip.r_wave_times_s)),
        volumes_ml=tuple(map(float, clip.volumes_ml)),
        ed_frame=clip.ed_frame,
        es_frame=clip.es_frame,
        row_mm=clip.spacing.row_mm,
        column_mm=clip.spacing.column_mm,
        sector_box_xyxy=clip.sector.box_xyxy,
        sector_polygon_xy=clip.sector.polygon_xy,
        label_file=label_file,
        label_frames=tuple(sorted(clip.labels)),
        walls=_clip_walls(clip),
    )


def _clip_walls(clip: PhantomClip) -> ClipWalls | None:
    walls = clip.walls
    if walls is None:
        return None
    return ClipWalls(
        frame=clip.ed_frame,
        points_xy=dict(walls.points_xy),
        ivsd_mm=walls.ivsd_mm,
        lvidd_mm=walls.lvidd_mm,
        lvpwd_mm=walls.lvpwd_mm,
        rvidd_mm=walls.rvidd_mm,
        rv_anterior_border_xy=walls.rv_anterior_border_xy,
    )


def _study_truth(patient: Patient, clips: tuple[ClipTruth, ...], plan: StudyPlan) -> StudyTruth:
    return StudyTruth(
        simulator_version=SIMULATOR_VERSION,
        seed=patient.seed,
        held_out=is_held_out(patient.seed),
        image_size=(plan.size, plan.size),
        transfer_syntax=plan.syntax.value,
        patient=PatientTruth(
            sex="M" if patient.sex == "M" else "F",
            age_years=patient.age_years,
            height_m=patient.height_m,
            weight_kg=patient.weight_kg,
            bsa_m2=patient.bsa_m2,
            heart_rate_bpm=patient.heart_rate_bpm,
            parameters=dataclasses.asdict(patient),
        ),
        ejection_fraction_percent=patient.ejection_fraction_percent,
        edv_ml=patient.edv_ml,
        esv_ml=patient.esv_ml,
        clips=clips,
    )
