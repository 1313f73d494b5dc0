"""What the pixels show: echocardiograms pass, everything else is refused with a reason in words."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_studies import draw_sector
from real_files import real_dicom, shared_data

from echoapex.domain import ContentKind
from echoapex.io.content import LEAST_SCORE, judge_pixels, measure_traits, refuse, score_traits
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.sector import search_sector
from echoapex.io.still_image import open_image
from echoapex.io.video import open_video
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

FAN = draw_sector((360, 480), 2)


@pytest.mark.parametrize("view", [View.A4C, View.PLAX, View.SUBCOSTAL_IVC, View.TEE_BICAVAL, View.ICE_HOME])
def test_the_phantom_passes(view: View) -> None:
    judged = judge_pixels(list(simulate_clip(view, 1_000_404, frames=3, label_frames="none").frames))

    assert judged.kind is ContentKind.B_MODE, judged.reason
    assert judged.sector is not None


@pytest.mark.parametrize("size", [(112, 112), (224, 224), (600, 800)])
def test_a_fan_passes_at_every_size_as_clip_and_as_still(size: tuple[int, int]) -> None:
    frames = draw_sector(size, 3)

    assert judge_pixels(list(frames)).kind is ContentKind.B_MODE
    assert judge_pixels(list(frames[:1])).kind is ContentKind.B_MODE


def test_noise_text_and_nothing_are_refused() -> None:
    rng = np.random.default_rng(0)
    text = np.zeros((400, 600), np.uint8)
    for row in range(40, 400, 40):
        cv2.putText(text, "Patient information and settings", (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    cases = {
        "noise": rng.integers(0, 255, (300, 400, 3), dtype=np.uint8),
        "text": text,
        "light text": 255 - text,
        "blank": np.zeros((300, 400), np.uint8),
        "even": np.full((300, 400), 128, np.uint8),
    }
    judged = {name: judge_pixels([frame]) for name, frame in cases.items()}

    assert all(item.sector is None and item.reason for item in judged.values())
    assert judged["text"].kind is judged["light text"].kind is ContentKind.TEXT_SCREEN
    assert {judged[name].kind for name in ("noise", "blank", "even")} == {ContentKind.NOT_ECHO}


def test_two_images_on_one_screen_are_a_split_screen() -> None:
    both = np.zeros((400, 960), np.uint8)
    both[20:380, :480], both[20:380, 480:] = FAN[0], draw_sector((360, 480), 1, seed=5)[0]

    judged = judge_pixels([both])

    assert judged.sector is None
    assert judged.kind in (ContentKind.SPLIT_SCREEN, ContentKind.NOT_ECHO)


def test_a_region_leaves_the_other_image_out() -> None:
    both = np.zeros((400, 960), np.uint8)
    both[20:380, :480], both[20:380, 480:] = FAN[0], draw_sector((360, 480), 1, seed=5)[0]

    judged = judge_pixels([both], (0.0, 0.0, 480.0, 400.0))

    assert judged.kind is ContentKind.B_MODE
    assert judged.sector is not None and judged.sector.box_xyxy[2] <= 480


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("bound", 0.1, "noise"),
        ("even", 0.9, "drawing"),
        ("coloured", 0.9, "photograph"),
        ("rim_dark", 0.5, "not dark"),
        ("near", 0.4, "curved array"),
        ("opening_deg", 160.0, "160 degrees"),
        ("turning", -0.5, ""),
    ],
)
def test_every_limit_has_its_reason(trait: str, value: float, words: str) -> None:
    search = search_sector(FAN)
    usual = measure_traits(search, None)
    assert refuse(usual, search) is None

    changed = replace(usual, **{trait: value})

    if words:
        refusal = refuse(changed, search)
        assert refusal is not None and words in refusal.reason
    else:
        assert score_traits(changed) < score_traits(usual)


def test_several_oddities_together_are_refused_in_words() -> None:
    search = search_sector(FAN)
    odd = replace(measure_traits(search, None), sides=0.3, turning=0.0, axial=0.0)

    refusal = refuse(odd, search)

    assert score_traits(odd) < LEAST_SCORE
    assert refusal is not None and "does not look like an echocardiogram" in refusal.reason


def test_a_small_fan_above_a_trace_is_no_b_mode() -> None:
    screen = np.zeros((600, 800), np.uint8)
    screen[10:170, 300:500] = draw_sector((160, 200), 1)[0]
    rng = np.random.default_rng(3)
    level = cv2.GaussianBlur(rng.rayleigh(80, (380, 760)).astype(np.float32), (0, 0), sigmaX=9, sigmaY=1)
    screen[200:580, 20:780] = np.clip(level, 10, 255)
    upright = screen.copy()
    level = cv2.GaussianBlur(rng.rayleigh(80, (380, 760)).astype(np.float32), (0, 0), sigmaX=1, sigmaY=9)
    upright[200:580, 20:780] = np.clip(level, 10, 255)

    assert judge_pixels([screen]).kind is ContentKind.M_MODE
    assert judge_pixels([upright]).kind is ContentKind.SPECTRAL_DOPPLER


def test_photographs_are_refused() -> None:
    from sklearn.datasets import load_sample_images

    for image in load_sample_images().images:
        judged = judge_pixels([np.asarray(image)])
        assert judged.kind is ContentKind.NOT_ECHO and judged.reason


@pytest.mark.parametrize("name", ["color3d_jpeg_baseline.dcm", "ultrasound-multiframe.dcm"])
def test_real_loops_of_the_heart_pass(name: str) -> None:
    assert open_dicom(real_dicom(name)).header.sector is not None


@pytest.mark.parametrize("name", ["US1_UNCR.dcm", "OBXXXX1A.dcm", "gdcm-US-ALOKA-16.dcm", "examples_palette.dcm"])
def test_real_other_ultrasound_is_set_aside(name: str) -> None:
    header = open_dicom(real_dicom(name)).header
    assert header.content not in (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)
    assert header.sector is None and header.content_reason


def test_real_traces_as_stills_and_lungs_as_videos_are_set_aside() -> None:
    stills = sorted(shared_data("ailabs_not_b_mode").glob("*.png"))[::5]
    # the third lung clip, B-lines in a wide fan, passes by its pixels: that needs what a set has learned
    videos = [shared_data("litfl_clips", "lung", f"{name}.mp4") for name in ("absent-sliding", "confluent-b-lines")]
    headers = [open_image(path).header for path in stills] + [open_video(path).header for path in videos]

    assert len(headers) >= 6
    assert all(header.sector is None and header.content_reason for header in headers)


def test_real_hearts_as_videos_and_stills_pass() -> None:
    folder = shared_data("litfl_clips")
    paths: list[Path] = sorted(path for path in folder.rglob("*.mp4") if path.parent.name != "lung")[::4]
    stills = sorted(shared_data("ucsf_examples", "A4C").glob("*.*"))[::3]

    headers = [open_video(path).header for path in paths] + [open_image(path).header for path in stills]

    assert all(header.sector is not None for header in headers)
