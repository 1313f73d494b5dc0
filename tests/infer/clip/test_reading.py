from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_ecgs import draw_ecg

from echoapex.data.preprocess import SECTOR_NOT_FOUND, PreparedClip, assess_image
from echoapex.domain import (
    ClipHeader,
    ContentKind,
    Ecg,
    EcgOrigin,
    Flag,
    FrameTransform,
    RWaveSource,
    ViewPrediction,
)
from echoapex.infer.clip.reading import (
    clip_flags,
    overall_quality,
    r_waves_of,
    reason_to_abstain,
    reason_to_set_aside,
    restrict_view,
)
from echoapex.io.clip_source import ReadFlag
from echoapex.vocabulary import Probe, View

HEADER = ClipHeader("clip", (64, 64), (0.0, 0.1), spacing_reason="none")
TEXTURE = np.random.default_rng(0).integers(0, 200, (2, 64, 64), np.uint8)


def prediction(probability: float) -> ViewPrediction:
    rest = (1 - probability) / (len(View) - 1)
    return ViewPrediction({view: probability if view is View.A4C else rest for view in View})


def prepared(pixels: np.ndarray, *flags: str) -> PreparedClip:
    return PreparedClip(pixels, FrameTransform(np.eye(3), (64, 64), (64, 64)), HEADER.with_flags(*flags), None, (0, 1))


@pytest.mark.parametrize("kind", [ContentKind.M_MODE, ContentKind.SPECTRAL_DOPPLER, ContentKind.NOT_ECHO])
def test_other_content_is_set_aside(kind: ContentKind) -> None:
    assert "because" in reason_to_set_aside(replace(HEADER, content=kind, content_reason="because"))


@pytest.mark.parametrize("kind", [ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER])
def test_tissue_images_are_not(kind: ContentKind) -> None:
    assert reason_to_set_aside(replace(HEADER, content=kind)) == ""


def test_contrast_grows_the_score_from_blank_to_full() -> None:
    scores = [assess_image((TEXTURE * share).astype(np.uint8)).score for share in (0.0, 0.05, 0.3, 1.0)]
    assert scores[0] == scores[1] == 0
    assert 0 < scores[2] < scores[3] == 1


def test_one_bright_frame_does_not_make_a_blank_clip_legible() -> None:
    clip = np.zeros((9, 64, 64), np.uint8)
    clip[4] = TEXTURE[0]
    assert assess_image(clip).score == 0


def test_abstention_names_its_reason() -> None:
    image, blank = assess_image(TEXTURE), assess_image(np.zeros_like(TEXTURE))
    assert reason_to_abstain(prepared(TEXTURE), image, prediction(0.9)) == ""
    assert "blank" in reason_to_abstain(prepared(TEXTURE), blank, prediction(0.9))
    assert "A4C" in reason_to_abstain(prepared(TEXTURE), image, prediction(0.15))
    without_sector = prepared(TEXTURE, SECTOR_NOT_FOUND)
    assert "sector" in reason_to_abstain(without_sector, image, prediction(0.5))
    assert "sector" in reason_to_abstain(without_sector, image, prediction(0.9))


def test_quality_is_the_weakest_part() -> None:
    image = assess_image(TEXTURE)
    assert overall_quality(image, prediction(0.8), [0.9, 0.5]) == pytest.approx(0.7)
    assert overall_quality(image, prediction(0.4), []) == pytest.approx(0.4)


def test_flags_follow_the_header_and_the_view() -> None:
    assert clip_flags(HEADER, prediction(0.9)) == ()
    doubtful = replace(HEADER, frame_times_known=False).with_flags(ReadFlag.CORRECTED_SPACING)
    assert set(clip_flags(doubtful, prediction(0.5))) == {
        Flag.VIEW_UNCERTAIN,
        Flag.ASSUMED_FRAME_RATE,
        Flag.CORRECTED_SPACING,
    }


def test_a_known_probe_leaves_its_views_only() -> None:
    restricted = restrict_view(prediction(0.4), Probe.TEE)
    assert restricted.view.probe is Probe.TEE
    assert restricted.probabilities[View.A4C] == 0
    assert restrict_view(prediction(0.4), None) == prediction(0.4)
    told = {view: float(view is View.A4C) for view in View}
    assert restrict_view(ViewPrediction(told), Probe.ICE).view is View.A4C, "what contradicts the probe wholly stays"


def with_ecg(samples: np.ndarray, start_s: float = 0.0) -> ClipHeader:
    return replace(HEADER, ecg=Ecg(samples, start_s, 250.0, "mV", EcgOrigin.CURVE))


def test_r_waves_are_found_in_the_ecg_and_told_on_the_time_of_the_clip() -> None:
    ecg = draw_ecg(72, 250, 4.0)
    times, source = r_waves_of(with_ecg(ecg.samples, start_s=-1.5))
    assert times == pytest.approx([time - 1.5 for time in ecg.r_waves_s], abs=0.01)
    assert source is RWaveSource.ECG_TRACE


def test_r_waves_that_the_file_names_go_first() -> None:
    header = replace(with_ecg(draw_ecg().samples), r_wave_times_s=(0.3,))
    assert r_waves_of(header) == ((0.3,), RWaveSource.FILE)


def test_there_are_no_r_waves_without_an_ecg_or_in_one_that_shows_none() -> None:
    noise = np.random.default_rng(1).standard_normal(750)
    for header in (HEADER, with_ecg(noise), with_ecg(draw_ecg().samples[:20])):
        assert r_waves_of(header) == ((), None)
