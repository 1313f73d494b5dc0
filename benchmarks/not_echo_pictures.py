"""Drawn pictures that are no echocardiogram: text, noise, plots, traces beside a fan, several fans, other probes.

Every function takes a seed and returns RGB frames ``(frames, height, width, 3)``. Screens with a reference image borrow
it from clips that the caller gives (real or simulated ones).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

Frames = np.ndarray
_SIZES = ((480, 640), (600, 800), (768, 1024), (540, 720))
_LINES = (
    "Patient: DOE^JANE",
    "DOB 1957-03-12   MRN 00482913",
    "LVEF (biplane) 61 %   E/A 1.2   DT 188 ms",
    "Mitral valve: mild regurgitation",
    "LV cavity normal in size, TAPSE 21 mm",
    "Conclusion: normal study",
    "IVSd 0.9 cm   LVIDd 4.8 cm   LVPWd 0.9 cm",
    "Settings   Help   File   Edit",
    "Adult Echo   S5-1   FR 52 Hz   15 cm",
)
_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))


def draw_text(seed: int) -> Frames:
    """A report or a menu, dark on light or light on dark."""
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(4)]
    ground, ink = ((0, 255), (255, 0), (30, 220), (60, 200), (230, 40), (12, 180))[rng.integers(6)]
    image = np.full((height, width, 3), ground, np.uint8)
    scale = float(rng.uniform(0.4, 1.1))
    if rng.random() < 0.4:
        image[: int(60 * scale)] = rng.integers(0, 255, 3)
    if rng.random() < 0.3:
        corner, opposite = (int(width * 0.6), int(height * 0.2)), (int(width * 0.95), int(height * 0.8))
        colour = [int(value) for value in rng.integers(0, 255, 3)]
        cv2.rectangle(image, corner, opposite, colour, -1 if rng.random() < 0.5 else 2)
    y = int(40 * scale)
    while y < height - 10:
        text = "   ".join(_LINES[index] for index in rng.integers(0, len(_LINES), rng.integers(1, 3)))
        font = (0, 2, 3, 5)[rng.integers(4)]
        cv2.putText(
            image, text, (int(rng.integers(5, 60)), y), font, scale, (ink,) * 3, 1 + int(scale > 0.8), cv2.LINE_AA
        )
        y += int(rng.uniform(24, 40) * scale)
    return image[None]


def draw_noise(seed: int) -> Frames:
    """White or coloured noise, fine or coarse, one frame or eight."""
    rng = np.random.default_rng(seed)
    height, width = ((480, 640), (256, 256), (600, 800), (224, 224))[rng.integers(4)]
    count = (1, 1, 8)[rng.integers(3)]
    grey, colour = (count, height, width, 1), (count, height, width, 3)
    kind = rng.integers(6)
    if kind == 0:
        frames = rng.integers(0, 256, colour).astype(np.float32)
    elif kind == 1:
        frames = rng.integers(0, 256, grey).astype(np.float32)
    elif kind == 2:
        frames = rng.normal(90, 35, grey)
    elif kind == 3:
        frames = rng.rayleigh(40, grey)
    else:
        spread = float(rng.uniform(1, 8))
        rough = rng.normal(90, 250, colour if kind == 4 else grey).astype(np.float32)
        frames = np.stack([cv2.GaussianBlur(frame, (0, 0), spread).reshape(*frame.shape) for frame in rough])
    return np.broadcast_to(np.clip(frames, 0, 255).astype(np.uint8), colour).copy()


def draw_plot(seed: int) -> Frames:
    """A diagram with axes: lines, bars, dots, a map of values, a pie or a filled curve."""
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(3)]
    ground = 0 if rng.random() < 0.3 else 255
    image = np.full((height, width, 3), ground, np.uint8)
    ink = (255 - ground,) * 3
    left, top, right, bottom = int(0.12 * width), int(0.1 * height), int(0.92 * width), int(0.88 * height)
    box = (left, top, right, bottom)
    (_lines, _bars, _dots, _map, _pie, _filled)[rng.integers(6)](image, box, rng)
    cv2.rectangle(image, (left, top), (right, bottom), ink, 1)
    for tick in range(6):
        y, x = int(bottom - (bottom - top) * tick / 5), int(left + (right - left) * tick / 5)
        cv2.putText(image, f"{tick * 20}", (left - 40, y), 0, 0.4, ink, 1, cv2.LINE_AA)
        cv2.putText(image, f"{tick}", (x, bottom + 18), 0, 0.4, ink, 1, cv2.LINE_AA)
    cv2.putText(image, "Volume against time (s)", (width // 3, top - 12), 0, 0.6, ink, 1, cv2.LINE_AA)
    return image[None]


Bounds = tuple[int, int, int, int]


def _lines(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    x = np.linspace(box[0], box[2], 200)
    for colour in _COLOURS[: rng.integers(1, 5)]:
        wave = np.sin(np.linspace(0, rng.uniform(3, 20), 200) + rng.uniform(0, 6)) * rng.uniform(0.2, 1)
        y = (box[1] + box[3]) / 2 + (box[3] - box[1]) * 0.35 * wave
        cv2.polylines(image, [np.stack([x, y], 1).astype(np.int32)], False, colour, 2, cv2.LINE_AA)


def _bars(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    count = int(rng.integers(4, 12))
    step = (box[2] - box[0]) / count
    for index in range(count):
        top = int(box[3] - (box[3] - box[1]) * rng.random())
        corners = (int(box[0] + step * (index + 0.1)), top), (int(box[0] + step * (index + 0.9)), box[3])
        cv2.rectangle(image, *corners, _COLOURS[0], -1)


def _dots(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    middle, spread = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), 0.12 * (box[2] - box[0])
    for _ in range(int(rng.integers(50, 2000))):
        point = (int(rng.normal(middle[0], spread)), int(rng.normal(middle[1], spread)))
        cv2.circle(image, point, 3, _COLOURS[rng.integers(5)], -1, cv2.LINE_AA)


def _map(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    cells = rng.integers(0, 256, (rng.integers(4, 12),) * 2).astype(np.uint8)
    size = (box[2] - box[0], box[3] - box[1])
    coloured = cv2.applyColorMap(cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST), int(rng.integers(0, 12)))
    image[box[1] : box[3], box[0] : box[2]] = coloured


def _pie(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    centre, radius = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2), int(0.4 * (box[3] - box[1]))
    start = float(rng.uniform(0, 90))
    for index in range(int(rng.integers(1, 5))):
        end = start + float(rng.uniform(30, 90))
        cv2.ellipse(image, centre, (radius, radius), 0, start, end, _COLOURS[index], -1)
        start = end


def _filled(image: np.ndarray, box: Bounds, rng: np.random.Generator) -> None:
    x = np.linspace(box[0], box[2], 200)
    width = float(rng.uniform(0.06, 0.2)) * (box[2] - box[0])
    y = box[3] - (box[3] - box[1]) * 0.8 * np.exp(-(((x - (box[0] + box[2]) / 2) / width) ** 2))
    under = np.concatenate([np.stack([x, y], 1), [[box[2], box[3]], [box[0], box[3]]]])
    cv2.fillPoly(image, [under.astype(np.int32)], _COLOURS[0])


def draw_m_mode(seed: int, clips: Sequence[Frames]) -> Frames:
    """An M-mode: the middle column of a clip over time, with or without the reference image."""
    return _trace_screen(seed, clips, _m_mode_strip)


def draw_spectral(seed: int, clips: Sequence[Frames]) -> Frames:
    """A spectral Doppler trace, with or without the reference image."""
    return _trace_screen(seed, clips, _spectral_strip)


def _trace_screen(seed: int, clips: Sequence[Frames], draw: Callable[..., np.ndarray]) -> Frames:
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(4)]
    image = _screen(height, width, rng)
    clip = clips[rng.integers(len(clips))]
    layout = rng.integers(4)
    top = int(height * (0.33, 0.5, 0.08, 0.42)[layout])
    left, right = int(width * rng.uniform(0, 0.06)), int(width * rng.uniform(0.85, 1))
    strip = draw(clip, (int(height * rng.uniform(0.93, 0.98)) - top, right - left), rng)
    if rng.random() < 0.3:
        strip[:, int(strip.shape[1] * rng.uniform(0.3, 0.95)) :] = 0
    tint = np.array([1, 0.85, 0.6] if rng.random() < 0.3 else [1, 1, 1])
    image[top : top + strip.shape[0], left:right] = (strip[..., None] * tint).astype(np.uint8)
    if layout != 2:
        _paste(image, clip[rng.integers(len(clip))], (int(0.25 * width), int(0.03 * height), width // 2, top - 20))
    return image[None]


def _m_mode_strip(clip: Frames, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    grey = clip[..., 0].astype(np.float32)
    height, width = grey.shape[1:]
    column = int(width * rng.uniform(0.4, 0.6))
    lines = grey[:, int(0.12 * height) : int(0.95 * height), max(0, column - 1) : column + 2].mean(axis=2)
    beat = np.concatenate([lines, lines[::-1]]).T
    strip = cv2.resize(np.tile(beat, (1, int(rng.integers(2, 6)))), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(strip * rng.uniform(0.8, 1.4) + rng.rayleigh(6, strip.shape), 0, 255).astype(np.uint8)


def _spectral_strip(clip: Frames, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = size
    baseline = int(height * rng.uniform(0.2, 0.8))
    phase = (np.arange(width) % (period := width / rng.uniform(2.5, 7))) / period
    first = rng.uniform(0.5, 0.95) * np.exp(-(((phase - rng.uniform(0.2, 0.4)) / rng.uniform(0.06, 0.15)) ** 2))
    second = rng.uniform(0, 0.7) * np.exp(-(((phase - rng.uniform(0.55, 0.8)) / 0.06) ** 2))
    longer = max(baseline, height - baseline)
    velocity = (np.arange(height)[:, None] - baseline) / longer * (1 if height - baseline > baseline else -1)
    below = (first + second)[None] - velocity
    body = ((velocity > 0) & (below > 0)) * (np.exp(-below / 0.12) if rng.random() < 0.5 else 0.75)
    strip = body * rng.uniform(120, 220) + 120 * np.exp(
        -np.abs(np.arange(height)[:, None] - baseline) / rng.uniform(3, 10)
    )
    strip = cv2.GaussianBlur((strip * rng.gamma(2, 0.5, size)).astype(np.float32), (0, 0), 0.8)
    strip = strip + rng.rayleigh(rng.uniform(1, 14), size)
    strip[baseline - 1 : baseline + 1] = 90
    return np.clip(strip, 0, 255).astype(np.uint8)


def draw_split_screen(seed: int, clips: Sequence[Frames]) -> Frames:
    """Two or four images on one screen."""
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(3)]
    image = _screen(height, width, rng)
    count = (2, 2, 4)[rng.integers(3)]
    for index in range(count):
        clip = clips[rng.integers(len(clips))]
        if count == 2:
            place = (index * width // 2, int(0.12 * height), width // 2, int(0.8 * height))
        else:
            place = ((index % 2) * width // 2, (index // 2) * height // 2, width // 2, height // 2)
        _paste(image, clip[rng.integers(len(clip))], place)
    return image[None]


def draw_linear_array(seed: int) -> Frames:
    """Layers under a linear array."""
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(2)]
    image = _screen(height, width, rng)
    x0, x1 = int(width * rng.uniform(0.1, 0.3)), int(width * rng.uniform(0.65, 0.9))
    y0, y1 = int(0.1 * height), int(height * rng.uniform(0.7, 0.95))
    size = (x1 - x0, y1 - y0)
    speckle = cv2.GaussianBlur(rng.rayleigh(1, size[::-1]).astype(np.float32), (0, 0), sigmaX=3, sigmaY=1)
    layers = cv2.resize(rng.uniform(10, 120, (12, 1)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    image[y0:y1, x0:x1] = np.clip(speckle * layers, 0, 255).astype(np.uint8)[..., None]
    return image[None]


def draw_curved_array(seed: int) -> Frames:
    """An abdominal picture: a curved array of 60 mm radius, 8 to 18 cm deep."""
    rng = np.random.default_rng(seed)
    height, width = _SIZES[rng.integers(3)]
    radius_mm, depth_mm, half = 60.0, float(rng.uniform(80, 180)), np.deg2rad(rng.uniform(28, 37))
    scale = 0.85 * height / (depth_mm + radius_mm * (1 - np.cos(half)))
    rows, columns = np.indices((height, width))
    x, y = columns - width / 2, rows - (0.08 * height - radius_mm * np.cos(half) * scale)
    radius, angle = np.hypot(x, y) / scale, np.arctan2(x, y)
    inside = (np.abs(angle) < half) & (radius > radius_mm) & (radius < radius_mm + depth_mm)
    speckle = cv2.GaussianBlur(rng.rayleigh(1, (400, 160)).astype(np.float32), (0, 0), 1.2)
    tissue = cv2.resize(rng.uniform(20, 110, (5, 4)).astype(np.float32), (160, 400), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(1, 5))):
        centre = (int(rng.uniform(20, 140)), int(rng.uniform(80, 350)))
        cv2.ellipse(tissue, centre, (int(rng.uniform(5, 22)), int(rng.uniform(10, 40))), 0, 0, 360, 4, -1)
    beams, depths = (angle / half + 1) * 79.5, (radius - radius_mm) / depth_mm * 399
    picture = cv2.remap(speckle * tissue, beams.astype(np.float32), depths.astype(np.float32), cv2.INTER_LINEAR)
    image = _screen(height, width, rng)
    image[inside] = np.clip(picture, 0, 255).astype(np.uint8)[inside][:, None]
    return image[None]


def _screen(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    if rng.random() < 0.5:
        image[: int(0.06 * height)] = rng.integers(0, 90)
    for _ in range(int(rng.integers(2, 8))):
        place = (int(rng.uniform(0, 0.75) * width), int(rng.uniform(0.03, 0.3) * height))
        cv2.putText(image, _LINES[rng.integers(len(_LINES))], place, 0, 0.45, (220,) * 3, 1, cv2.LINE_AA)
    return image


def _paste(image: np.ndarray, picture: np.ndarray, place: Bounds) -> None:
    left, top, width, height = place
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    left += (width - size[0]) // 2
    part = image[top : top + size[1], left : left + size[0]]
    np.maximum(part, small[: part.shape[0], : part.shape[1]], out=part)


DRAWN: dict[str, Callable[..., Any]] = {
    "text screens": draw_text,
    "noise": draw_noise,
    "plots": draw_plot,
    "linear array": draw_linear_array,
    "curved array": draw_curved_array,
}
BESIDE_CLIPS: dict[str, Callable[..., Any]] = {
    "M-mode": draw_m_mode,
    "spectral Doppler": draw_spectral,
    "split screens": draw_split_screen,
}
