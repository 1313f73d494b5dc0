"""The two schematic windows."""

import numpy as np

from echoapex.phantom import Patient
from echoapex.phantom.anatomy import SubcostalVein, SuprasternalArch
from echoapex.phantom.anatomy.geometry import Points
from echoapex.vocabulary import Structure


def plane() -> Points:
    x, y = np.meshgrid(np.arange(-60, 60, 1.0, dtype=np.float32), np.arange(0, 130, 1.0, dtype=np.float32))
    return x, y, np.zeros_like(x)


def test_the_arch_is_a_lumen_above_a_labelled_atrium() -> None:
    scene = SuprasternalArch(Patient(seed=0), np.random.default_rng(0), jitter=0.0)
    found = scene.distances(plane(), 0.0)
    atrium = found.labelled[Structure.LEFT_ATRIUM] < 0
    assert (found.lumen[atrium] < 0).all()
    rows = np.flatnonzero(atrium.any(1))
    assert (found.lumen[: rows[0]] < 0).any()  # the arch is nearer to the transducer
    assert found.liver is None


def test_the_vein_is_as_wide_as_the_patient_s() -> None:
    scene = SubcostalVein(Patient(seed=0, ivc_mm=20), np.random.default_rng(0), jitter=0.0)
    y = np.arange(50, 100, 0.1, dtype=np.float32)
    beside_hepatic_vein = np.full_like(y, -55.0)
    lumen = scene.distances((beside_hepatic_vein, y, np.zeros_like(y)), 0.0).lumen < 0
    widths = np.diff(np.flatnonzero(np.diff(lumen.astype(int)))) * 0.1
    assert 14 < widths.max() < 22


def test_the_heart_beats_in_both() -> None:
    for kind in (SuprasternalArch, SubcostalVein):
        scene = kind(Patient(seed=0), np.random.default_rng(0), 1.0)
        still, moved = (scene.distances(plane(), phase).lumen for phase in (0.0, 0.36))
        assert np.abs(still - moved).max() > 0.5
