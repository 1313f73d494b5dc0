"""The pictures on which the gate is tuned and judged: real echocardiograms, and everything that is none.

Real data comes from a folder that is not part of this repository and from pip packages; each source and each patient
belongs to one half, ``tuning`` or ``judging``. Drawn pictures go by the parity of their seed.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from not_echo_pictures import BESIDE_CLIPS, DRAWN

from echoapex.io.clip_file import open_clip
from echoapex.io.study_files import find_clips
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

Half = Literal["tuning", "judging"]
_MOST_FRAMES = 8
_PHANTOM_PATIENTS: dict[Half, int] = {"tuning": 1_000_101, "judging": 1_000_202}
_HEART_DICOM = ("color3d_jpeg_baseline.dcm", "ultrasound-multiframe.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm")
_OTHER_DICOM: dict[str, Half] = {
    "OBXXXX1A.dcm": "tuning",
    "US1_UNCR.dcm": "judging",
    "gdcm-US-ALOKA-16.dcm": "tuning",
    "GREYSCALE_IMAGE.dcm": "judging",
    "RGB_IMAGE.dcm": "tuning",
    "examples_palette.dcm": "judging",
    "examples_rgb_color.dcm": "judging",
    "GREYSCALE_CINE.zip": "tuning",
    "RGB_CINE.zip": "judging",
}
_PACKAGES = (("data_store", "data"), ("deid_data", "data/ultrasounds"), ("pydicom", "data/test_files"))
_TUNING_LITFL = ("cardiac-tamponade", "rv-dilation")


@dataclass(frozen=True)
class Case:
    """One picture or clip; ``frames`` reads a few RGB or grey frames of it, ``path`` is its file where it has one."""

    group: str
    name: str
    is_echo: bool
    half: Half
    frames: Callable[[], list[np.ndarray]]
    path: Path | None = None


def real_cases(folder: Path | None) -> Iterator[Case]:
    """Real echocardiograms and real others; what is absent is left out."""
    if folder is not None:
        yield from _folder_cases(folder)
    for name in _HEART_DICOM:
        if (path := find_packaged(name)) is not None:
            yield _file_case("DICOM of pip packages", path, True, "judging")
    for name, half in _OTHER_DICOM.items():
        if (path := find_packaged(name)) is not None:
            yield _file_case("other ultrasound", path, False, half)
    yield from _photographs()


def drawn_cases(count: int, clips: dict[Half, list[np.ndarray]]) -> Iterator[Case]:
    """``count`` drawings of every kind, even seeds for tuning; reference images come from clips of the same half."""
    for seed in range(count):
        half: Half = "judging" if seed % 2 else "tuning"
        for group, draw in DRAWN.items():
            yield Case(f"{group}, drawn", str(seed), False, half, _drawing(draw, seed))
        for group, draw in BESIDE_CLIPS.items():
            yield Case(f"{group}, drawn", str(seed), False, half, _drawing(draw, seed, clips[half]))


def phantom_cases() -> Iterator[Case]:
    """The phantom in all its views, one patient for each half."""
    for half, patient in _PHANTOM_PATIENTS.items():
        for view in View:
            yield Case("phantom, 18 views", view.value, True, half, _phantom(view, patient))


def _phantom(view: View, patient: int) -> Callable[[], list[np.ndarray]]:
    return lambda: list(simulate_clip(view, patient, frames=6, label_frames="none").frames)


def _drawing(draw: Callable[..., np.ndarray], *arguments: object) -> Callable[[], list[np.ndarray]]:
    return lambda: list(draw(*arguments))


def _folder_cases(folder: Path) -> Iterator[Case]:
    for path in sorted((folder / "ailabs_clips").glob("*/")):
        yield _file_case("AILabs, 1 patient", path, True, "tuning")
    studies = _json(folder / "mit_echo_clips" / "views.json")
    for name, about in sorted(studies.items()):
        half: Half = "tuning" if about["study"] % 2 else "judging"
        yield _file_case("MIT clips, 5 studies", folder / "mit_echo_clips" / name, True, half)
    for path in sorted((folder / "litfl_clips").rglob("*.mp4")):
        if path.parent.name == "lung":
            yield _file_case("lung", path, False, "tuning" if path.stem == "absent-sliding" else "judging")
        else:
            half = "tuning" if path.parent.name in _TUNING_LITFL else "judging"
            yield _file_case("LITFL hearts, 5 patients", path, True, half)
    for path in sorted((folder / "ucsf_examples").glob("*/*.*")):
        if path.suffix in (".png", ".jpg") and not path.parent.name.endswith("_labels"):
            yield _file_case("UCSF stills, 26 patients", path, True, _parity(path.stem))
    for path in sorted((folder / "ailabs_not_b_mode").glob("*.png")):
        group = "M-mode" if path.stem.startswith("m_mode") else "spectral Doppler"
        yield _file_case(f"{group}, real", path, False, _parity(path.stem))
    yield from _camus(folder)


def _camus(folder: Path) -> Iterator[Case]:
    if (path := folder / "camus224" / "camus224.npz").exists():
        images = np.load(path)["image"]
        for patient, views in enumerate(images):
            half: Half = "judging" if patient % 2 else "tuning"
            for number, image in enumerate(views.reshape(-1, *views.shape[-2:])):
                yield Case("CAMUS 224, 450 patients", f"{patient}/{number}", True, half, lambda image=image: [image])
    for patient in sorted((folder / "camus_native_4ch").glob("patient*")):
        for path in sorted(patient.glob("*_4CH_E?.nii.gz")):
            yield _file_case("CAMUS native, 149 patients", path, True, _parity(patient.name))


def _photographs() -> Iterator[Case]:
    from sklearn.datasets import load_sample_images

    halves: tuple[Half, Half] = ("tuning", "judging")
    for number, (image, half) in enumerate(zip(load_sample_images().images, halves, strict=True)):
        yield Case("photographs", str(number), False, half, lambda image=image: [np.asarray(image)])


def find_packaged(name: str) -> Path | None:
    """A DICOM file that a pip package installs; one in a zip is extracted for this run."""
    for package, folder in _PACKAGES:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / folder / name if spec and spec.origin else None
        if path is not None and path.is_file():
            if path.suffix != ".zip":
                return path
            with zipfile.ZipFile(path) as packed:
                return Path(packed.extract(packed.namelist()[0], tempfile.mkdtemp(prefix="gate-cases-")))
    return None


def _file_case(group: str, path: Path, is_echo: bool, half: Half) -> Case:
    return Case(group, path.name, is_echo, half, lambda: read_frames(path), path)


def read_frames(path: Path) -> list[np.ndarray]:
    """Some frames of a file or a folder of numbered images, spread over its first forty."""
    (clip,) = find_clips([path])
    if isinstance(clip, Exception):
        raise clip
    opened = open_clip(clip)
    try:
        frames = [frame for number, frame in enumerate(opened.frames()) if number < 40]
    finally:
        opened.close()
    chosen = np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).round().astype(int))
    return [frames[index] for index in chosen]


def _json(path: Path) -> dict[str, dict[str, int]]:
    return json.loads(path.read_text()) if path.exists() else {}


def _parity(name: str) -> Half:
    digits = "".join(character for character in name if character.isdigit())
    return "judging" if int(digits or 0) % 2 else "tuning"
