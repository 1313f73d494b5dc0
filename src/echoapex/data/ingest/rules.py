"""The rules that turn files into frames; all frames of a store follow the same ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echoapex.config import Config


class IngestRules(Config):
    """How clips become frames."""

    size: int = Field(default=256, ge=32, le=1024)
    """Side of a stored frame in pixels."""
    stride: int = Field(default=1, ge=1)
    """Every so many frames one is looked at."""
    max_frames: int = Field(default=64, ge=1, le=4096)
    """At most so many frames of a clip are looked at; of longer clips every second, third... so that they spread."""
    near_duplicate_bits: int = Field(default=2, ge=-1, le=255)
    """A frame goes when its hash differs from that of an earlier kept frame of the clip in so many bits or fewer.
    -1 keeps all."""
    val_percent: float = Field(default=5.0, ge=0, le=100)
    """Share of the patients that are set apart for validation, drawn by their keyed digest."""
    unnamed: Literal["folder", "file"] = "folder"
    """Whose the clips are that name no patient, as videos: one patient's per folder, or one patient's each."""

    def stride_of(self, frame_count: int) -> int:
        """Every how many frames one is looked at in a clip of ``frame_count`` frames."""
        return max(self.stride, -(-frame_count // self.max_frames))
