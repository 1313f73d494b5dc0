"""The body as signed distances: a beating heart in three dimensions, and two schematic scenes without ventricles."""

from echoapex.phantom.anatomy.heart import Heart, HeartChambers, HeartDetails
from echoapex.phantom.anatomy.scenes import Scene, SubcostalVein, SuprasternalArch

__all__ = ["Heart", "HeartChambers", "HeartDetails", "Scene", "SubcostalVein", "SuprasternalArch"]
