"""The phantom: simulated echo clips of a beating heart, with the exact truth of everything that EchoApex measures.

The clips are synthetic. They have labels that are exact by geometry, fully developed speckle, and LV measures in
clinical ranges. Clinical validity is not claimed.
"""

from echoapex.phantom.clip import SIMULATOR_VERSION, PhantomClip, simulate_clip
from echoapex.phantom.imaging import (
    Imaging,
    RandomizedSetting,
    sample_imaging,
    sample_randomized_imaging,
    sample_randomized_setting,
)
from echoapex.phantom.patient import Patient, sample_patient
from echoapex.phantom.views import PhantomError
from echoapex.phantom.walls import WallTruth

__all__ = [
    "SIMULATOR_VERSION",
    "Imaging",
    "Patient",
    "PhantomClip",
    "PhantomError",
    "RandomizedSetting",
    "WallTruth",
    "sample_imaging",
    "sample_patient",
    "sample_randomized_imaging",
    "sample_randomized_setting",
    "simulate_clip",
]
