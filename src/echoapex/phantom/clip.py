"""``simulate_clip``: a clip of one view, with the exact truth of everything that EchoApex measures.

The clip goes from anatomy to grey levels: one plane of one patient's heart, imaged by one machine. The simulation makes
many temporary arrays of 200 kB; keeping them on the heap makes it 1.6 times faster with glibc and has no effect
elsewhere.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter, uniform_filter1d

from echoapex.domain import Ecg, EcgOrigin, Sector, Spacing, WallPoint
from echoapex.phantom.anatomy import Heart, Scene, SubcostalVein, SuprasternalArch
from echoapex.phantom.anatomy.geometry import Field, Points, Vector
from echoapex.phantom.artefacts import EcgTrace, build_pattern, draw_annotations, ecg_volts
from echoapex.phantom.echogenicity import HeartEcho, SceneEcho
from echoapex.phantom.imaging import Imaging, sample_imaging
from echoapex.phantom.patient import Patient, Stream, random_stream, sample_patient
from echoapex.phantom.scan import PAD_BEAMS, GridSize, PolarGrid, ScanConverter, build_grey_map, in_image
from echoapex.phantom.speckle import PointSpread, TissueSpeckle, noise_field
from echoapex.phantom.views import Framing, PhantomError, Pose, verified_pose
from echoapex.phantom.walls import WallTruth, measure_walls, rv_border_position, wall_positions
from echoapex.vocabulary import View

_BRIGHTEST_DB = 12.0
"""Echo level relative to myocardium that is displayed as white."""
_DECIBELS_PER_NEPER_OF_POWER = 10 / math.log(10)
_SWAY_ENDS_AT_PHASE = 0.7
_ECG_RATE_HZ = 500.0

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ONE_GIBIBYTE = 1 << 30

SIMULATOR_VERSION = "2"
"""Changes whenever the same arguments give different pixels."""
SMALLEST_SIZE = 96
LabelFrames = Literal["none", "ed_es", "all"] | Sequence[int]


def simulate_clip(  # noqa: PLR0913  (the options of one function; all but two have defaults)
    view: View,
    seed: int,
    *,
    patient: Patient | None = None,
    imaging: Imaging | None = None,
    size: int = 256,
    frames: int | None = None,
    beats: float = 1.0,
    start_phase: float = 0.0,
    label_frames: LabelFrames = "none",
    jitter: float = 1.0,
) -> PhantomClip:
    """Simulate one clip. The same arguments give the same bytes.

    Args:
        view: The view to show; the plane is verified by geometry.
        seed: Determines the pose, the speckle and, if not given, the patient and the machine.
        patient: Defaults to ``sample_patient(seed)``.
        imaging: Defaults to ``sample_imaging(seed, view)``.
        size: Height and width in pixels, at least 96.
        frames: Number of frames, spread evenly over ``beats``; by default given by the machine's frame rate.
        beats: Duration in heart beats.
        start_phase: Phase of the first frame; 0 is the R wave.
        label_frames: Frames with a label map: none, end-diastole and end-systole, all, or given frame numbers.
        jitter: Deviation of the operator from the ideal plane: 0 is none, 1 is usual.

    Raises:
        PhantomError: an argument is out of range, or no plane of this patient shows the view.
    """
    _check(size, frames, beats, jitter)
    keep_temporaries_on_the_heap()
    patient = patient or sample_patient(seed)
    imaging = imaging or sample_imaging(seed, view)
    stage = _Stage(view, seed, patient, imaging, size, jitter)
    duration_s = beats * patient.beat_s
    count = frames or max(2, round(duration_s * imaging.frame_rate_hz))
    times_s = np.arange(count) * (duration_s / count)
    phases = (start_phase + times_s / patient.beat_s) % 1.0
    volumes = np.array([stage.heart.volume_ml(float(phase)) for phase in phases])
    ed_frame, es_frame = int(volumes.argmax()), int(volumes.argmin())
    first_r_wave = (-start_phase) % 1.0
    r_waves = np.arange(first_r_wave, beats, 1.0) * patient.beat_s
    ecg = EcgTrace(size, duration_s, patient.beat_s, start_phase)
    return PhantomClip(
        view=view,
        seed=seed,
        frames=stage.render(times_s, phases, ecg),
        frame_times_s=times_s,
        phases=phases,
        volumes_ml=volumes,
        ed_frame=ed_frame,
        es_frame=es_frame,
        ejection_fraction_percent=patient.ejection_fraction_percent,
        edv_ml=patient.edv_ml,
        esv_ml=patient.esv_ml,
        spacing=stage.converter.spacing,
        sector=stage.converter.sector,
        r_wave_times_s=tuple(float(time) for time in r_waves),
        ecg=_sample_ecg(duration_s, patient.beat_s, start_phase),
        labels={n: stage.labels(float(phases[n])) for n in _labelled(label_frames, ed_frame, es_frame, count)},
        walls=stage.walls(float(phases[ed_frame])),
        patient=patient,
        imaging=imaging,
    )


def _sample_ecg(duration_s: float, beat_s: float, start_phase: float) -> Ecg:
    """The schematic ECG of the clip, whose R wave has 1 mV."""
    times_s = np.arange(math.floor(duration_s * _ECG_RATE_HZ) + 1) / _ECG_RATE_HZ
    return Ecg(ecg_volts(start_phase + times_s / beat_s), 0.0, _ECG_RATE_HZ, "mV", EcgOrigin.WAVEFORM)


@dataclass(frozen=True, eq=False)
class PhantomClip:
    """A simulated clip and its truth.

    Volumes are those of the three-dimensional ventricle. ``labels`` maps frame numbers to label maps of ``Structure``
    values, which are computed from the geometry at pixel centres. ``walls`` belong to ``ed_frame``; they exist in PLAX
    only.
    """

    view: View
    seed: int
    frames: UInt8[np.ndarray, "frames height width"]
    frame_times_s: Float[np.ndarray, "frames"]
    phases: Float[np.ndarray, "frames"]
    volumes_ml: Float[np.ndarray, "frames"]
    ed_frame: int
    es_frame: int
    ejection_fraction_percent: float
    edv_ml: float
    esv_ml: float
    spacing: Spacing
    sector: Sector
    r_wave_times_s: tuple[float, ...]
    ecg: Ecg
    labels: dict[int, UInt8[np.ndarray, "height width"]]
    walls: WallTruth | None
    patient: Patient
    imaging: Imaging
    simulator_version: str = SIMULATOR_VERSION


class BeamFormer:
    """Makes polar frames of a plane. A frame depends only on the seed and the instant, not on earlier frames."""

    def __init__(self, view: View, seed: int, imaging: Imaging, grid: PolarGrid) -> None:
        self._seed, self._view_number = seed, list(View).index(view)
        self._imaging, self._grid = imaging, grid
        rng = random_stream(seed, Stream.CLIP, self._view_number)
        self._spread = PointSpread(imaging, grid)
        self._speckle = TissueSpeckle(grid, self._spread, rng)
        self.pattern = build_pattern(view, imaging, grid, rng)
        self._standing_noise = noise_field(grid.shape, rng)
        angle = rng.uniform(0, 2 * np.pi)
        self._sway_mm: Vector = np.array([math.cos(angle), math.sin(angle), 0.3]) * rng.uniform(0.5, 2.0)

    def sway_mm(self, phase: float) -> Vector:
        """Displacement of the whole heart in the chest at a phase."""
        return self._sway_mm * math.sin(math.pi * min(1.0, phase / _SWAY_ENDS_AT_PHASE))

    def compressed_frame(self, echo_source: HeartEcho | SceneEcho, phase: float, time_s: float) -> Field:
        """Log-compressed echo (samples, beams) without padding, 0 to 1."""
        imaging, pattern, shape = self._imaging, self.pattern, self._grid.shape
        rng = random_stream(self._seed, Stream.FRAME, self._view_number, round(time_s * 1e6))
        sway = [float(component) for component in self.sway_mm(phase)]
        x, y, z = (p - s for p, s in zip(self._grid.points, sway, strict=True))
        echo = echo_source.at((x, y, z), phase, self._speckle)
        scatterers = self._speckle.scatterers(echo.tissue)
        np.copyto(scatterers, noise_field(shape, rng), where=echo.blood)  # blood has moved away by the next frame
        field = scatterers * (echo.diffuse + 0.25 * echo.specular)
        field += 0.9 * echo.specular
        field *= pattern.gain
        field += noise_field(shape, rng) * (self._haze(echo.diffuse + 1.5 * echo.specular) * pattern.haze)
        field += self._standing_noise * pattern.near_clutter
        received = self._spread.blur(field)
        received += noise_field(shape, rng) * pattern.noise
        received = received[:, PAD_BEAMS:-PAD_BEAMS]
        power = received.real**2 + received.imag**2
        decibels = _DECIBELS_PER_NEPER_OF_POWER * np.log(power + 1e-8)
        darkest = _BRIGHTEST_DB - imaging.dynamic_range_db
        level: Field = (decibels + (imaging.gain_db - darkest)) * (1 / imaging.dynamic_range_db)
        np.clip(level, 0, 1, out=level)
        if imaging.smoothing_px > 0:
            level = gaussian_filter(level, (imaging.smoothing_px * 0.9, imaging.smoothing_px), truncate=2.5)
        return level

    def _haze(self, amplitude: Field) -> Field:
        """Side lobes: the echo of the neighbourhood, blurred across the beams."""
        samples, beams = self._grid.size
        across = uniform_filter1d(amplitude, max(5, int(33 * beams / 128)) | 1, axis=1, mode="nearest")
        haze: Field = uniform_filter1d(across, max(3, int(9 * samples / 352)) | 1, axis=0, mode="nearest")
        return haze


@functools.cache
def keep_temporaries_on_the_heap() -> bool:
    """Raise glibc's mmap and trim thresholds for this process, once.

    By default glibc maps and unmaps every array above 128 kB, so each of the many temporary arrays of a frame costs
    page faults.

    Returns:
        Whether the C library accepted the setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _ONE_GIBIBYTE)) and bool(mallopt(_M_TRIM_THRESHOLD, _ONE_GIBIBYTE))


def _check(size: int, frames: int | None, beats: float, jitter: float) -> None:
    if size < SMALLEST_SIZE:
        raise PhantomError(f"size={size} is too small for the phantom; give {SMALLEST_SIZE} or more")
    if frames is not None and frames < 1:
        raise PhantomError(f"frames={frames} is no clip; give 1 or more, or None")
    if not beats > 0:
        raise PhantomError(f"beats={beats} is no duration; give a positive number")
    if not 0 <= jitter <= 2:
        raise PhantomError(f"jitter={jitter} is out of range; give 0 to 2")


class _Stage:
    """Heart, plane and machine of one clip."""

    def __init__(self, view: View, seed: int, patient: Patient, imaging: Imaging, size: int, jitter: float) -> None:
        self.view, self.imaging = view, imaging
        self.heart = Heart(patient)
        self._scene = _scene(view, patient, seed, jitter)
        self.pose = self._plane(seed, jitter)
        grid = PolarGrid(self.pose, GridSize.for_image(size))
        self.converter = ScanConverter(grid, size, imaging.wing_crop)
        self.beam_former = BeamFormer(view, seed, imaging, grid)
        pattern = self.beam_former.pattern
        self._echo: HeartEcho | SceneEcho
        if self._scene is not None:
            self._echo = SceneEcho(self._scene, grid, pattern, imaging)
        else:
            self._echo = HeartEcho(self.heart, view, grid, pattern, imaging)

    def render(self, times_s: np.ndarray, phases: np.ndarray, ecg: EcgTrace) -> np.ndarray:
        """Render all frames as uint8."""
        imaging, converter = self.imaging, self.converter
        grey_map = build_grey_map(imaging)
        annotations = draw_annotations(converter, imaging, self.pose.depth_mm) if imaging.overlay else None
        frames = np.empty((len(times_s), converter.size, converter.size), np.uint8)
        shown: np.ndarray | None = None
        for number, (time_s, phase) in enumerate(zip(times_s, phases, strict=True)):
            level = self.beam_former.compressed_frame(self._echo, float(phase), float(time_s))
            if shown is None or not imaging.persistence:
                shown = level
            else:
                shown = (1 - imaging.persistence) * level + imaging.persistence * shown
            image = converter.convert(shown, grey_map)
            if annotations is not None:
                np.maximum(image, annotations, out=image)
            if imaging.ecg:
                ecg.draw(image, float(time_s))
            frames[number] = (image * 255 + 0.5).astype(np.uint8)
        return frames

    def labels(self, phase: float) -> np.ndarray:
        """The label map at a phase."""
        sway = [float(component) for component in self.beam_former.sway_mm(phase)]
        x, y, z = (p - s for p, s in zip(self.converter.points, sway, strict=True))
        points: Points = (x, y, z)
        if self._scene is None:
            return self.converter.spread(self.heart.labels(points, phase))
        values = np.zeros(x.shape, np.uint8)
        for structure, distance in self._scene.distances(points, phase).labelled.items():
            values[distance < 0] = structure
        return self.converter.spread(values)

    def walls(self, phase: float) -> WallTruth | None:
        """The wall end points at a phase; None outside PLAX."""
        if self.view is not View.PLAX:
            return None
        sway = self.beam_former.sway_mm(phase)
        positions = wall_positions(self.heart, self.pose, phase, sway)
        if positions is None:
            return None
        border = rv_border_position(self.heart, self.pose, phase, sway, positions[WallPoint.SEPTUM_RV_SIDE])
        if border is not None and not in_image(self.pose, border, self.imaging.wing_crop):
            border = None
        return measure_walls(positions, self.converter, border)

    def _plane(self, seed: int, jitter: float) -> Pose:
        framing = Framing(self.imaging.depth_factor, self.imaging.fan_factor, self.imaging.standoff_mm)
        if self._scene is not None:
            axes = np.eye(3)
            pose = Pose(np.zeros(3), axes[1], axes[0], self._scene.depth_mm, self._scene.field_of_view_deg)
            return framing.applied_to(pose)
        return verified_pose(self.view, self.heart, seed, jitter, self._shows_walls, framing)

    def _shows_walls(self, pose: Pose) -> bool:
        """Whether the wall end points are in the image; only PLAX needs them."""
        if self.view is not View.PLAX:
            return True
        positions = wall_positions(self.heart, pose, 0.0, np.zeros(3))
        return positions is not None and all(in_image(pose, p, self.imaging.wing_crop) for p in positions.values())


def _scene(view: View, patient: Patient, seed: int, jitter: float) -> Scene | None:
    """The schematic scene of a view without a plane through the ventricles; None for other views."""
    rng = random_stream(seed, Stream.POSE, list(View).index(view))
    if view is View.SUPRASTERNAL:
        return SuprasternalArch(patient, rng, jitter)
    if view is View.SUBCOSTAL_IVC:
        return SubcostalVein(patient, rng, jitter)
    return None


def _labelled(label_frames: LabelFrames, ed_frame: int, es_frame: int, count: int) -> list[int]:
    if isinstance(label_frames, str):
        named = {"none": [], "ed_es": sorted({ed_frame, es_frame}), "all": list(range(count))}
        if label_frames not in named:
            raise PhantomError(f"label_frames={label_frames!r} is unknown; give one of {', '.join(named)} or numbers")
        return named[label_frames]
    numbers = [int(number) for number in label_frames]
    outside = [number for number in numbers if not 0 <= number < count]
    if outside:
        raise PhantomError(f"label_frames {outside} are outside the clip; give numbers from 0 to {count - 1}")
    return numbers
