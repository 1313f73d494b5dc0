"""The phantom: simulated echo clips of a beating heart, with the exact truth of everything that EchoApex measures.

Synthetic: what is claimed is exact labels by geometry, fully developed speckle and LV measures in clinical ranges, not
clinical validity.
"""

from echoapex.phantom.clip import SIMULATOR_VERSION, PhantomClip, simulate_clip
from echoapex.phantom.imaging import Imaging, sample_imaging, sample_wide_imaging
from echoapex.phantom.patient import Patient, sample_patient
from echoapex.phantom.view_checks import PhantomError
from echoapex.phantom.walls import WallTruth
from echoapex.phantom.wide import WideSetting, sample_wide_setting

__all__ = [
    "SIMULATOR_VERSION",
    "Imaging",
    "Patient",
    "PhantomClip",
    "PhantomError",
    "WallTruth",
    "WideSetting",
    "sample_imaging",
    "sample_patient",
    "sample_wide_imaging",
    "sample_wide_setting",
    "simulate_clip",
]
