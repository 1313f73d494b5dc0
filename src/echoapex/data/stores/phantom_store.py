"""Draws a training store from the phantom: many simulated patients, every view, exact labels; parallel, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.preprocess import prepare_image, prepare_labels
from echoapex.data.stores.clip_store import write_shard
from echoapex.io.processes import ended_on_error, new_pool, run_stoppable
from echoapex.phantom import (
    PhantomClip,
    PhantomError,
    RandomizedSetting,
    sample_imaging,
    sample_patient,
    sample_randomized_imaging,
    sample_randomized_setting,
    simulate_clip,
)
from echoapex.vocabulary import Probe, Structure, View

CLIPS_PER_SHARD = 60
_REPLACEMENT_STRIDE = 200_000
_INNER_LAYER = 41
"""Random stream of the inner layer of the wall."""
_STANDOFF = 43
"""Random stream of the distance of the probe."""
_APICAL_LAYER = 3
"""How much thicker that layer is at the apex."""
ALL_STRUCTURES_KNOWN = sum(1 << int(structure) for structure in Structure)


class PhantomStoreConfig(Config):
    """Which clips to draw: seeds below 200,000 (replacements below 800,000); from 1,000,000 on they are held out."""

    first_seed: int = Field(default=0, ge=0)
    patients: int = Field(ge=1)
    """Patients per view; view number v of patient i has its own seed, so no two clips share a patient."""
    views: tuple[View, ...] = tuple(View)
    frames: int = Field(default=5, ge=1)
    labelled: int = Field(default=5, ge=1)
    """Number of frames with a label map, spread evenly from the first to the last frame."""
    beats: tuple[float, float] = (1.0, 1.0)
    randomized_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the clips with randomised machine settings, far beyond the usual (``sample_randomized_imaging``)."""
    randomized_bodies: bool = False
    """Whether these clips also have bodies, depths and hands beyond the usual (``sample_randomized_setting``)."""
    inner_layer_mm: tuple[float, float] = (0.0, 0.0)
    """Range of a layer of trabeculated muscle in clips with such bodies, three times as thick at the apex.

    Readers draw the inner border inside this layer, so it is part of the wall in image and label.
    """
    standoff_mm: tuple[float, float] = (0.0, 0.0)
    """Range of how much farther away the probe is than usual in transthoracic clips with such bodies."""
    native_size: int = 256
    size: int = 192

    @model_validator(mode="after")
    def _keeps_held_out_seeds(self) -> PhantomStoreConfig:
        last = self.seeds[-1]
        if last >= _REPLACEMENT_STRIDE:
            raise ValueError(
                f"seeds up to {last} leave the training range (0 to {_REPLACEMENT_STRIDE - 1}); "
                "draw fewer patients or lower first_seed"
            )
        return self

    @property
    def seeds(self) -> range:
        """The patients of the store."""
        return range(self.first_seed, self.first_seed + self.patients * len(self.views))

    def clips(self) -> list[tuple[View, int]]:
        """Every (view, seed) of the store, views interleaved."""
        count = len(self.views)
        return [
            (view, self.first_seed + patient * count + number)
            for patient in range(self.patients)
            for number, view in enumerate(self.views)
        ]


def draw_phantom_store(
    config: PhantomStoreConfig,
    directory: Path,
    workers: int = 1,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the shards that are missing; call ``on_shard(done, total)`` after each.

    The same configuration gives the same bytes, in any number of processes.
    """
    clips = config.clips()
    jobs = [
        (directory / f"shard-{first // CLIPS_PER_SHARD:05d}", clips[first : first + CLIPS_PER_SHARD])
        for first in range(0, len(clips), CLIPS_PER_SHARD)
    ]
    missing = [job for job in jobs if not job[0].exists()]
    done = len(jobs) - len(missing)
    if not missing:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for _ in _run(config, missing, workers):
        done += 1
        on_shard(done, len(jobs))


def _run(config: PhantomStoreConfig, jobs: list[tuple[Path, list[tuple[View, int]]]], workers: int) -> Iterator[None]:
    if workers <= 1:
        for path, clips in jobs:
            _draw_shard(config, path, clips)
            yield
        return
    with ended_on_error(new_pool(workers, "forkserver")) as pool:
        for future in as_completed(
            [pool.submit(run_stoppable, _draw_shard, config, path, clips) for path, clips in jobs]
        ):
            future.result()
            yield


def _draw_shard(config: PhantomStoreConfig, path: Path, clips: list[tuple[View, int]]) -> None:
    frames = np.zeros((len(clips), config.frames, config.size, config.size), np.uint8)
    labels = np.zeros((len(clips), config.labelled, config.size, config.size), np.uint8)
    rows: list[dict[str, Any]] = []
    for number, (view, seed) in enumerate(clips):
        clip = _simulate(config, view, seed)
        rows.append(_prepare(config, clip, frames[number], labels[number]))
    write_shard(path, frames, labels, {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]})


def _simulate(config: PhantomStoreConfig, view: View, seed: int) -> PhantomClip:
    """The clip of a seed; if the view cannot be found, the patient of a distant seed replaces this one."""
    for attempt in range(4):
        try:
            return _simulate_patient(config, view, seed + attempt * _REPLACEMENT_STRIDE)
        except PhantomError:
            continue
    raise PhantomError(f"view {view}: no plane found for seed {seed} and its replacements; choose another first_seed")


def _simulate_patient(config: PhantomStoreConfig, view: View, seed: int) -> PhantomClip:
    rng = np.random.default_rng([seed, 31])
    spread = np.linspace(0, config.frames - 1, config.labelled).round().astype(int)
    beats, start_phase = float(rng.uniform(*config.beats)), float(rng.random())
    setting = _setting(config, view, seed, randomized=rng.random() < config.randomized_share)
    return simulate_clip(
        view,
        seed,
        patient=setting.patient,
        imaging=setting.imaging,
        jitter=setting.jitter,
        size=config.native_size,
        frames=config.frames,
        beats=beats,
        start_phase=start_phase,
        label_frames=[int(frame) for frame in spread],
    )


def _setting(config: PhantomStoreConfig, view: View, seed: int, *, randomized: bool) -> RandomizedSetting:
    """Patient, machine settings and hand movement of a clip."""
    if randomized and config.randomized_bodies:
        setting = _with_inner_layer(sample_randomized_setting(seed, view), config.inner_layer_mm)
        return _with_standoff(setting, config.standoff_mm) if view.probe is Probe.TTE else setting
    imaging = sample_randomized_imaging(seed, view) if randomized else sample_imaging(seed, view)
    return RandomizedSetting(sample_patient(seed), imaging, jitter=1.0)


def _with_inner_layer(setting: RandomizedSetting, range_mm: tuple[float, float]) -> RandomizedSetting:
    """The setting with thicker walls; the cavity keeps its volume."""
    patient = setting.patient
    layer_mm = float(np.random.default_rng([patient.seed, _INNER_LAYER]).uniform(*range_mm))
    thicker = replace(
        patient,
        septum_mm=patient.septum_mm + layer_mm,
        posterior_wall_mm=patient.posterior_wall_mm + layer_mm,
        apical_wall_mm=patient.apical_wall_mm + _APICAL_LAYER * layer_mm,
    )
    return replace(setting, patient=thicker)


def _with_standoff(setting: RandomizedSetting, range_mm: tuple[float, float]) -> RandomizedSetting:
    """The setting with the probe farther away."""
    standoff_mm = float(np.random.default_rng([setting.patient.seed, _STANDOFF]).uniform(*range_mm))
    return replace(setting, imaging=replace(setting.imaging, standoff_mm=standoff_mm))


def _prepare(config: PhantomStoreConfig, clip: PhantomClip, frames: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fill the pixels of one clip and return its truth row."""
    for number, frame in enumerate(clip.frames):
        frames[number], transform = prepare_image(frame, clip.sector, config.size)
    label_frames = sorted(clip.labels)
    for row, frame_number in enumerate(label_frames):
        labels[row] = prepare_labels(clip.labels[frame_number], transform)
    walls = clip.walls
    native_points = np.array(list(walls.points_xy.values())) if walls else np.full((4, 2), np.nan)
    return {
        "view": list(View).index(clip.view),
        "patient": clip.seed,
        "times_s": clip.frame_times_s,
        "relative_volume": clip.volumes_ml / clip.edv_ml,
        "ef_percent": clip.ejection_fraction_percent,
        "label_frames": label_frames,
        "known_structures": ALL_STRUCTURES_KNOWN,
        "wall_frame": clip.ed_frame if walls else -1,
        "wall_points": transform.map_points(native_points),
        "mm_per_px": transform.map_spacing(clip.spacing).row_mm,
    }
