"""Immutable values that all layers share. numpy only; no files, no models."""

from echoapex.domain.clip import Clip, ClipHeader, ContentKind, FrameTransform, Sector, Spacing
from echoapex.domain.prompts import Prompt
from echoapex.domain.results import (
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
    "Clip",
    "ClipHeader",
    "ClipReport",
    "ContentKind",
    "Evidence",
    "Flag",
    "FrameTransform",
    "Landmarks",
    "Measurement",
    "Prompt",
    "Sector",
    "Segmentation",
    "Spacing",
    "StudyReport",
    "ViewPrediction",
    "VolumeCurve",
    "WallPoint",
]
