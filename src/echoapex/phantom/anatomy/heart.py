"""The beating heart: the signed distance to every structure, at any point and phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echoapex.phantom.anatomy.geometry import BodyHabitus, Field, HeartPoints, Points, union
from echoapex.phantom.anatomy.left_ventricle import BeatState, LeftVentricle, LeftVentricleSurfaces
from echoapex.phantom.anatomy.right_ventricle import RightVentricle, RightVentricleSurfaces
from echoapex.phantom.anatomy.valves import Subvalvular, Valves
from echoapex.phantom.anatomy.vessels_and_atria import AorticRoot, Atria, VesselsAndAtria, least
from echoapex.phantom.motion import CardiacCycle
from echoapex.phantom.patient import Patient
from echoapex.vocabulary import Structure

_HIDDEN_BEYOND_MM = 9.0
"""A structure that always stays farther from the plane is not visible in it."""


@dataclass(frozen=True, eq=False)
class HeartChambers:
    """Signed distances in mm to the walls and cavities at one instant, negative inside."""

    points: HeartPoints
    state: BeatState
    lv: LeftVentricleSurfaces
    rv: RightVentricleSurfaces
    root: AorticRoot
    atria: Atria


@dataclass(frozen=True, eq=False)
class HeartDetails:
    """Distances in mm to structures without a label; None if the plane never meets the structure."""

    mitral: Field | None
    tricuspid: Field | None
    aortic_cusps: Field | None
    aortic_commissures: Field | None
    papillary_muscles: Field | None
    chordae: Field | None
    moderator_band: Field | None
    descending_aorta: Field | None


class Heart:
    """Implicit geometry of one patient's heart in the heart frame (see ``phantom.anatomy.geometry``)."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.cycle = CardiacCycle(patient)
        self.ventricle = LeftVentricle(patient, self.cycle)
        self.vessels = VesselsAndAtria(self.ventricle)
        self._right_ventricle = RightVentricle(self.ventricle, self.vessels)
        self._valves = Valves(self.ventricle, self.vessels)
        self._subvalvular = Subvalvular(self.ventricle, self._valves)
        self._habitus = BodyHabitus(patient)

    def volume_ml(self, phase: float) -> float:
        """LV cavity volume at a phase of the cycle."""
        return self.ventricle.volume_ml(phase)

    def chambers(
        self, points: Points, phase: float, hidden: frozenset[str] = frozenset(), with_tissue: bool = False
    ) -> HeartChambers:
        """Walls and cavities at ``points`` (float32, mm); ``with_tissue`` adds the coordinates of the LV wall."""
        state = self.ventricle.state(phase)
        placed = self._habitus.heart_points(points, state.base_shift_mm, state.length_mm)
        lv = self.ventricle.surfaces(placed, state, with_tissue)
        root = self.vessels.aortic_root(placed)
        return HeartChambers(
            points=placed,
            state=state,
            lv=lv,
            rv=self._right_ventricle.surfaces(placed, state, lv, root),
            root=root,
            atria=self.vessels.atria(placed, root, state.cycle, hidden),
        )

    def details(self, chambers: HeartChambers, hidden: frozenset[str] = frozenset()) -> HeartDetails:
        """Leaflets, muscles and vessels that appear in the image but have no label."""
        points, state = chambers.points, chambers.state
        opening = state.cycle.mitral_opening
        cusps = commissures = None
        if "aortic_cusps" not in hidden:
            cusps, commissures = self._valves.aortic(points, chambers.root, state.cycle)
        within = self._subvalvular
        return HeartDetails(
            mitral=None if "mitral" in hidden else self._valves.mitral(points, opening),
            tricuspid=None if "tricuspid" in hidden else self._valves.tricuspid(points, opening),
            aortic_cusps=cusps,
            aortic_commissures=commissures,
            papillary_muscles=None if "papillary_muscles" in hidden else within.papillary_muscles(points, state),
            chordae=None if "chordae" in hidden else within.chordae(points, state),
            moderator_band=None if "moderator_band" in hidden else within.moderator_band(points),
            descending_aorta=None if "descending_aorta" in hidden else self.vessels.descending_aorta(points),
        )

    def hidden_structures(self, points: Points) -> frozenset[str]:
        """Names of the small structures that a plane never meets; every fourth grid point is tested."""
        coarse = tuple(p[::4, ::4] for p in points)
        nearest: dict[str, float] = {}
        for phase in (0.0, 0.2, self.cycle.end_systole_phase, 0.55, 0.9):
            chambers = self.chambers((coarse[0], coarse[1], coarse[2]), phase)
            details = self.details(chambers)
            distances = {
                "inferior_vein": chambers.atria.inferior_vein,
                "superior_vein": chambers.atria.superior_vein,
                "mitral": details.mitral,
                "tricuspid": details.tricuspid,
                "aortic_cusps": details.aortic_cusps,
                "papillary_muscles": details.papillary_muscles,
                "chordae": details.chordae,
                "moderator_band": details.moderator_band,
                "descending_aorta": details.descending_aorta,
            }
            for name, distance in distances.items():
                nearest[name] = min(nearest.get(name, np.inf), least(distance))
        return frozenset(name for name, distance in nearest.items() if distance > _HIDDEN_BEYOND_MM)

    def labels(self, points: Points, phase: float) -> np.ndarray:
        """Label map: the ``Structure`` value at every point, uint8; 0 is background.

        Papillary muscles belong to the cavity (ASE 2015). The outflow tract up to the pulmonary valve belongs to the
        right ventricle. The RV wall, the pulmonary artery and the veins have no label.
        """
        chambers = self.chambers(points, phase)
        lv, rv, atria = chambers.lv, chambers.rv, chambers.atria
        labels = np.zeros(points[0].shape, np.uint8)
        labels[lv.wall < 0] = Structure.LV_MYOCARDIUM
        labels[lv.cavity_open < 0] = 0  # no myocardium across the valves
        for vein in (atria.superior_vein, atria.inferior_vein):
            if vein is not None:
                labels[vein < 0] = 0
        labels[atria.right < 0] = Structure.RIGHT_ATRIUM
        labels[atria.left < 0] = Structure.LEFT_ATRIUM
        labels[union(rv.cavity, rv.outflow) < 0] = Structure.RIGHT_VENTRICLE
        labels[rv.pulmonary_artery < 0] = 0
        labels[chambers.root.lumen < 0] = Structure.AORTIC_ROOT
        labels[lv.cavity < 0] = Structure.LV_CAVITY
        return labels

    def areas_cm2(self, points: Points, weights_cm2: Field, phase: float) -> dict[str, float]:
        """Area of each structure on a plane; each sample point represents an area of ``weights_cm2``."""
        chambers = self.chambers(points, phase)
        details = self.details(chambers)
        muscles, mitral, tricuspid = details.papillary_muscles, details.mitral, details.tricuspid
        inside = {
            "lv": chambers.lv.cavity < 0,
            "la": chambers.atria.left < 0,
            "rv": chambers.rv.cavity < 0,
            "ra": chambers.atria.right < 0,
            "aorta": chambers.root.lumen < 0,
            "outflow": chambers.rv.outflow < 0,
            "wall": chambers.lv.wall < 0,
        }
        if muscles is not None:
            inside["papillary"] = (muscles < 0) & (chambers.lv.cavity < 0)
        for name, leaflets in (("mitral", mitral), ("tricuspid", tricuspid)):
            if leaflets is not None:
                inside[name] = leaflets < 1.0
        for name, vein in (("ivc", chambers.atria.inferior_vein), ("svc", chambers.atria.superior_vein)):
            if vein is not None:
                inside[name] = (vein < 0) & (chambers.atria.right > 0)
        return {name: float(weights_cm2[mask].sum()) for name, mask in inside.items()}
