"""What a curation does: everything that the result depends on, besides the store and the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from echoapex.config import Config

Factor = Literal["view", "vendor", "quality", "probe", "content"]


class CurationRules(Config):
    """How a frame store is sampled, clustered, thinned and balanced."""

    frames_per_clip: int = Field(default=2, ge=1, le=4096)
    """So many frames of a clip are looked at, each for an equal stretch of it."""
    clusters: tuple[int, ...] = ()
    """Number of clusters level by level, finest first; by default from the size of the sample."""
    near_duplicate_bits: int = Field(default=4, ge=-1, le=255)
    """Frames of different clips whose hashes differ in so many bits or fewer are copies; -1 looks for none."""
    least_quality: float = Field(default=0.0, ge=0, le=1)
    """Frames of less quality than this are left out; nearly blank ones always are."""
    colour: bool = True
    """Whether frames with colour Doppler are kept."""
    balance: tuple[Factor, ...] = ("view", "vendor", "quality")
    """What is made as even as frames permit, besides the clusters."""
    most_weight: float = Field(default=4.0, ge=1, le=16)
    """No frame is visited more than so many times as often as an even one, or so many times as seldom."""
    seed: int = Field(default=0, ge=0)

    @field_validator("clusters")
    @classmethod
    def _from_fine_to_coarse(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in value) or list(value) != sorted(set(value), reverse=True):
            raise ValueError(
                "clusters are counted from the finest level to the coarsest, each fewer, as in 1024 128 16"
            )
        return value

    @field_validator("balance")
    @classmethod
    def _each_once(cls, value: tuple[Factor, ...]) -> tuple[Factor, ...]:
        if len(set(value)) != len(value):
            raise ValueError("balance names something twice")
        return value
