"""Canaries in pixels: invented names and numbers burned in around a fan, in every kind of file, on every screen.

A case is one file with five canaries. Where each of them would show in an output is known, so that it is looked for
there by template, at its own scale; the words are looked for by optical character recognition as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from avi_files import write_avi
from drawn_studies import draw_sector
from PIL import Image
from synthetic_dicom import region, write_native

HEIGHT, WIDTH = 480, 640
FRAMES = 4
SCREENS = ((0, 255), (0, 120), (0, 45), (25, 230), (60, 255), (60, 130), (128, 255), (200, 20), (235, 90), (255, 0))
"""Grey level of the screen and of the ink."""
PICTURES = ("fan", "colour", "rectangle", "nothing")
KINDS = ("png", "jpg", "series", "avi", "mp4", "grey.dcm", "rgb.dcm", "region.dcm", "palette.dcm", "nii.gz")
_PER_CASE = 5
_FAN_SIZE, _FAN_AT = (330, 400), (70, 120)
_LETTERS = "BCDFGHKLMNPRSTVXZ"
_FOUND = 0.6


@dataclass(frozen=True)
class Canary:
    """One burned-in text: its words, the left end of its base line, its box (x0, y0, x1, y1), size and stroke."""

    words: str
    place: tuple[int, int]
    box: tuple[int, int, int, int]
    scale: float


@dataclass(frozen=True)
class Case:
    """What is drawn, on which screen, into which kind of file."""

    number: int
    picture: str
    screen: tuple[int, int]
    kind: str

    def __str__(self) -> str:
        return f"{self.number}-{self.picture}-{self.screen[0]}-{self.screen[1]}-{self.kind}"


def all_cases() -> list[Case]:
    """Every kind of file with every screen, the pictures in turn; fans and colour three times as often as the rest."""
    pictures = ("fan", "colour", "fan", "rectangle", "colour", "fan", "nothing", "fan")
    pairs = [(kind, screen) for kind in KINDS for screen in SCREENS]
    return [Case(n, pictures[n % len(pictures)], screen, kind) for n, (kind, screen) in enumerate(pairs)]


def draw_case(case: Case) -> tuple[np.ndarray, list[Canary], np.ndarray]:
    """Frames as RGB, the canaries on them, and the fan as a mask (empty where there is none)."""
    rng = np.random.default_rng(case.number)
    ground, ink = case.screen
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), ground, np.uint8)
    fan = np.zeros((HEIGHT, WIDTH), bool)
    if case.picture in ("fan", "colour"):
        drawn = draw_sector(_FAN_SIZE, FRAMES, case.number)
        rows, columns = (slice(start, start + length) for start, length in zip(_FAN_AT, _FAN_SIZE, strict=True))
        fan[rows, columns] = drawn[0] > 0
        frames[:, rows, columns] = np.where(drawn[..., None] > 0, drawn[..., None], frames[:, rows, columns])
        if case.picture == "colour":
            frames[:, 230:300, 280:360] = (200, 30, 20)
    elif case.picture == "rectangle":
        texture = cv2.GaussianBlur(rng.rayleigh(70, (FRAMES, 280, 380)).transpose(1, 2, 0), (0, 0), 1.2)
        fan[100:380, 130:510] = True
        frames[:, 100:380, 130:510] = np.clip(texture, 12, 255).astype(np.uint8).transpose(2, 0, 1)[..., None]
    canaries = list(_place(fan, rng))
    for frame in frames:
        for canary in canaries:
            cv2.putText(frame, canary.words, canary.place, 0, canary.scale, (ink,) * 3, 2, cv2.LINE_AA)
    if case.picture == "rectangle":
        fan[:] = False
    return frames, canaries, fan


def _place(fan: np.ndarray, rng: np.random.Generator) -> Iterator[Canary]:
    """Texts that touch neither the fan nor each other, two of them in the corners of the fan's own box."""
    taken = cv2.dilate(fan.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    rows, columns = np.nonzero(fan) if fan.any() else (np.array([90, 400]), np.array([100, 540]))
    box = (columns.min(), rows.min(), columns.max(), rows.max())
    count = 0
    for attempt in range(20_000):
        words = "".join(rng.choice(list(_LETTERS), 4)) + f"{rng.integers(1000, 9999)}"
        scale = float(rng.uniform(0.5, 0.8))
        (width, height), below = cv2.getTextSize(words, 0, scale, 2)
        inner = count < 2 and attempt < 10_000
        x = int(rng.integers(box[0], max(box[0] + 1, box[2] - width)) if inner else rng.integers(2, WIDTH - width - 2))
        y = int(rng.integers(box[1] + height, box[3]) if inner else rng.integers(height + 2, HEIGHT - below - 2))
        corners = (x, y - height, x + width, y + below)
        part = taken[corners[1] - 2 : corners[3] + 2, corners[0] - 2 : corners[2] + 2]
        if part.any():
            continue
        part[:] = True
        count += 1
        yield Canary(words, (x, y), corners, scale)
        if count == _PER_CASE:
            return
    raise AssertionError("no room for the canaries")


def write_case(case: Case, frames: np.ndarray, folder: Path) -> Path:
    """The frames as a file (or a folder) of the kind of the case."""
    path = folder / f"clip.{case.kind}"
    grey = (
        frames[..., 0] if case.picture != "colour" else np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])
    )
    if case.kind in ("png", "jpg"):
        Image.fromarray(frames[0]).save(path, quality=92)
    elif case.kind == "series":
        (path := folder / "series").mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{number:03d}.png")
    elif case.kind == "avi":
        write_avi(path, grey)
    elif case.kind == "mp4":
        from echoapex.io.pictures import open_video_writer

        with open_video_writer(path, (HEIGHT, WIDTH), 25.0) as write:
            for frame in frames:
                write(frame)
    elif case.kind == "nii.gz":
        import nibabel

        nibabel.save(nibabel.Nifti1Image(grey.transpose(2, 1, 0), np.eye(4)), path)
    elif case.kind == "rgb.dcm":
        write_native(path, frames, "RGB")
    elif case.kind == "palette.dcm":
        write_native(path, grey, "PALETTE COLOR", **_grey_palette())
    else:
        regions = [region((0, 0, WIDTH - 1, HEIGHT - 1))] if case.kind == "region.dcm" else None
        write_native(path, grey, "MONOCHROME2", SequenceOfUltrasoundRegions=regions)
    return path


def _grey_palette() -> dict[str, object]:
    ramp = (np.arange(256, dtype=np.uint16) * 257).astype("<u2").tobytes()
    elements: dict[str, object] = {}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = ramp
    return elements


def found_by_template(canary: Canary, picture: np.ndarray, scale: float) -> bool:
    """Whether the canary shows anywhere in a picture in which native pixels are ``scale`` pixels large."""
    margin = 3
    height, width = canary.box[3] - canary.box[1] + 2 * margin, canary.box[2] - canary.box[0] + 2 * margin
    native = np.zeros((height, width), np.uint8)
    place = (margin, canary.place[1] - canary.box[1] + margin)
    cv2.putText(native, canary.words, place, 0, canary.scale, 255, 2, cv2.LINE_AA)
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    for factor in (0.97, 1.0, 1.03):
        size = (round(width * scale * factor), round(height * scale * factor))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        template = cv2.resize(native, size, interpolation=method)
        if size[0] > grey.shape[1] or size[1] > grey.shape[0]:
            continue
        match = cv2.matchTemplate(grey, template, cv2.TM_CCOEFF_NORMED)
        # dark ink on a light screen matches with the opposite sign
        if float(np.abs(np.nan_to_num(match, posinf=0, neginf=0)).max()) > _FOUND:
            return True
    return False


def found_by_reading(canary: Canary, texts: list[str]) -> bool:
    """Whether four letters or digits of the canary in a row were read."""
    read = " ".join(texts).upper().replace(" ", "")
    return any(canary.words[start : start + 4] in read for start in range(len(canary.words) - 3))
