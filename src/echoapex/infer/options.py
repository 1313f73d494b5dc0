"""What a person can choose about an analysis."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echoapex.config import Config
from echoapex.models.precision import Precision
from echoapex.vocabulary import Probe


class AnalysisOptions(Config):
    """Choices of an analysis; those that change results are part of what makes a finished clip reusable."""

    contours: Literal["cycle", "ed_es"] = Field(
        default="cycle",
        description="outline structures over the cardiac cycle, or only at end-diastole and end-systole (faster)",
    )
    probe: Probe | None = Field(default=None, description="where the transducer was, when that is known: TTE, TEE, ICE")
    max_encoded_frames: int = Field(default=1024, ge=2, description="longer clips are taken with a stride")
    max_segmented_frames: int = Field(default=96, ge=2, description="frames outlined per clip")
    keep_identifiers: bool = Field(default=False, description="let file names and patient data into the outputs")
    precision: Precision = Field(
        default="auto", description="of the encoder: what the machine is fast at (auto), bf16 or fp32"
    )
    overlays: bool = Field(default=True, description="write one overlay video per clip")
    masks: bool = Field(default=True, description="write label maps")
