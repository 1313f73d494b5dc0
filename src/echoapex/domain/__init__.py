"""Immutable values that all layers share. numpy only; no files, no models."""

from echoapex.domain.clip import Clip, ClipHeader, ContentKind, FrameTransform, Sector, Spacing
from echoapex.domain.ecg import Ecg, EcgOrigin, ReportedEcg, RWaveSource
from echoapex.domain.prompts import Prompt
from echoapex.domain.results import (
    RV_ANTERIOR_BORDER,
    ClipReport,
    Evidence,
    Flag,
    Landmarks,
    Measurement,
    Segmentation,
    StudyReport,
    ViewPrediction,
    VolumeCurve,
    WallPoint,
)

__all__ = [
    "RV_ANTERIOR_BORDER",
    "Clip",
    "ClipHeader",
    "ClipReport",
    "ContentKind",
    "Ecg",
    "EcgOrigin",
    "Evidence",
    "Flag",
    "FrameTransform",
    "Landmarks",
    "Measurement",
    "Prompt",
    "RWaveSource",
    "ReportedEcg",
    "Sector",
    "Segmentation",
    "Spacing",
    "StudyReport",
    "ViewPrediction",
    "VolumeCurve",
    "WallPoint",
]
