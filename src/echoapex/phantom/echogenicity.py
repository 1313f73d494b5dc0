"""Echo strength of each sample: diffuse scattering, specular reflection, and the scatterers at the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echoapex.phantom.anatomy import Heart, HeartChambers, HeartDetails
from echoapex.phantom.anatomy.geometry import Field, Points, smooth_minimum, union
from echoapex.phantom.anatomy.scenes import Scene
from echoapex.phantom.anatomy.vessels_and_atria import nearest
from echoapex.phantom.artefacts import ClipPattern
from echoapex.phantom.imaging import Imaging
from echoapex.phantom.scan import PolarGrid
from echoapex.phantom.speckle import TissueSpeckle
from echoapex.vocabulary import View

_TRABECULAR_MM = 1.3
_SHORT_AXIS_VIEWS = (View.PSAX_AV, View.PSAX_MV, View.PSAX_PM, View.PSAX_APEX)


@dataclass(frozen=True, eq=False)
class Echo:
    """Echo at one instant on the polar grid."""

    diffuse: Field
    specular: Field
    tissue: Points
    """Tissue coordinates at which the scatterers of each sample are looked up."""
    blood: np.ndarray


def _blood_echo(imaging: Imaging) -> float:
    """Echo amplitude of blood; myocardium is about 1."""
    return float(10 ** (imaging.blood_db / 20))


class HeartEcho:
    """Echo of the beating heart in one plane."""

    def __init__(self, heart: Heart, view: View, grid: PolarGrid, pattern: ClipPattern, imaging: Imaging) -> None:
        self._heart, self._grid, self._pattern = heart, grid, pattern
        self._anisotropy = imaging.anisotropy
        self._blood, self._fat = _blood_echo(imaging), imaging.fat
        self._reach_mm = imaging.surroundings_reach_mm
        self._short_axis = view in _SHORT_AXIS_VIEWS
        self._hidden = heart.hidden_structures(grid.points)
        pose = grid.pose
        self._plane_axes = [[float(v) for v in axis] for axis in (pose.right_axis, pose.depth_axis, pose.normal)]
        self._facing_depth = np.clip(grid.ranges_mm[:, None] * (1 / 80), 0.08, 1.2)

    def at(self, points: Points, phase: float, speckle: TissueSpeckle) -> Echo:
        """Echo of the sample points at a phase of the cycle."""
        chambers = self._heart.chambers(points, phase, self._hidden, with_tissue=True)
        details = self._heart.details(chambers, self._hidden)
        tissue = self._tissue_coordinates(points, chambers)
        texture = speckle.texture(tissue)
        mottled = np.maximum(1 + 0.38 * texture, 0.12)
        ventricles, atria, surface = self._outer_surface(chambers, texture)
        diffuse = self._surroundings(chambers, surface)
        # muscle is bright where its layers face the beam, and darker where they are parallel to it
        fibres = (1 - self._anisotropy) + self._anisotropy * self._incidence(chambers.lv.endocardium)
        diffuse += (0.95 * fibres * mottled - diffuse) * _coverage(chambers.lv.wall, 1.6)
        lumen = self._lumen(chambers, details) + self._raggedness(chambers, texture)
        diffuse += (self._blood - diffuse) * _coverage(lumen, 1.8)
        specular = np.zeros_like(diffuse)
        self._add_muscles_within(diffuse, fibres, chambers, details)
        self._add_leaflets(diffuse, specular, chambers, details)
        self._add_walls(diffuse, specular, lumen, chambers, details)
        self._add_pericardium(specular, surface, ventricles <= atria)
        specular *= self._pattern.reflection
        specular *= mottled
        return Echo(diffuse, specular, tissue, lumen < 0)

    def _tissue_coordinates(self, points: Points, chambers: HeartChambers) -> Points:
        """Wall coordinates inside the LV wall; elsewhere the axes of the plane, moving with the base near the heart.

        The lattice is fine along its first two axes, so these must be the axes that are visible in the plane.
        """
        around, along, through = chambers.lv.tissue or points
        wall = (along, through, around) if not self._short_axis else (around, through, along)
        in_wall = chambers.lv.wall < 1
        near_heart = union(chambers.rv.outer, chambers.atria.left_outer, chambers.atria.right_outer) < 6
        z = np.where(near_heart, chambers.points.material_z, self._grid.points[2])
        x, y, _ = points
        first, second, third = (
            np.where(in_wall, coordinate, x * axis[0] + y * axis[1] + z * axis[2])
            for coordinate, axis in zip(wall, self._plane_axes, strict=True)
        )
        return first, second, third

    @staticmethod
    def _outer_surface(chambers: HeartChambers, texture: Field) -> tuple[Field, Field, Field]:
        """Distances to the ventricles, to the atria, and to the outer surface of the heart."""
        ventricles = smooth_minimum(chambers.lv.wall, chambers.rv.outer - 3.8, 6.0)
        both_atria = union(chambers.atria.left_outer, chambers.atria.right_outer) - 2.2
        atria = smooth_minimum(both_atria, chambers.root.lumen - 2.0, 5.0)
        return ventricles, atria, smooth_minimum(ventricles, atria, 9.0) + 0.5 * texture

    def _surroundings(self, chambers: HeartChambers, surface: Field) -> Field:
        """Lung and mediastinum that fade with distance, fat and muscle within the heart, and an effusion."""
        effusion = self._heart.patient.effusion_mm
        outside = surface - effusion if effusion else surface
        diffuse = 0.20 * self._pattern.background * (0.25 + np.exp(np.clip(outside, 0, 60) * (-1 / self._reach_mm)))
        diffuse += (self._fat - diffuse) * _coverage(surface, 2.0)
        if effusion:
            beside_atria = union(chambers.atria.right_outer - 6, chambers.atria.left_outer - 5)
            fluid = (surface > 0) & (outside < 0) & (beside_atria > 0)
            diffuse[fluid] = self._blood
        return diffuse

    def _raggedness(self, chambers: HeartChambers, texture: Field) -> Field:
        """Trabeculae: how far they extend into the cavity, in mm; more towards the apex.

        They are on the cavity side of the labelled border, because ASE 2015 traces the compacted wall.
        """
        level = np.clip(chambers.points.material_z * (1 / self._heart.ventricle.length_mm), 0, 1)
        result: Field = 0.45 * texture + _TRABECULAR_MM * np.maximum(texture, 0) * level
        return result

    @staticmethod
    def _lumen(chambers: HeartChambers, details: HeartDetails) -> Field:
        atria = chambers.atria
        lumen = nearest(
            chambers.rv.cavity,
            chambers.rv.outflow,
            atria.left_open,
            atria.right_open,
            chambers.root.lumen_open,
            chambers.lv.cavity_open,
            atria.inferior_vein,
            atria.superior_vein,
            details.descending_aorta,
        )
        assert lumen is not None  # the chambers always exist
        return lumen

    @staticmethod
    def _add_muscles_within(diffuse: Field, fibres: Field, chambers: HeartChambers, details: HeartDetails) -> None:
        """Papillary muscles, the moderator band and chordae, inside their cavities."""
        if details.papillary_muscles is not None:
            inside = (chambers.lv.endocardium < 0) & (details.papillary_muscles < 0)
            np.copyto(diffuse, 0.85 * fibres, where=inside)
        if details.moderator_band is not None:
            diffuse[(chambers.rv.cavity < 0) & (details.moderator_band < 0)] = 0.6
        if details.chordae is not None:
            strings = 0.10 * _sheet(np.maximum(details.chordae, 0), 0.55)
            diffuse += strings * (chambers.lv.endocardium < 0)

    def _add_leaflets(self, diffuse: Field, specular: Field, chambers: HeartChambers, details: HeartDetails) -> None:
        tricuspid = None if details.tricuspid is None else details.tricuspid + 0.25
        leaflets = nearest(details.mitral, tricuspid)
        if leaflets is not None:
            diffuse += 0.55 * _sheet(leaflets, 0.95)
            facing = 0.3 + 0.7 * self._incidence(np.minimum(leaflets, 6))
            specular += 0.75 * _sheet(leaflets, 0.85) * facing
        cusps, commissures = details.aortic_cusps, details.aortic_commissures
        if cusps is not None and commissures is not None:
            diffuse += 0.45 * _sheet(commissures, 0.8) + 0.16 * _sheet(cusps, 0.8)
            specular += 0.22 * _sheet(np.minimum(commissures, cusps + 0.9), 0.8)
        elif cusps is not None:
            thin = 0.35 * _sheet(cusps, 0.8)
            diffuse += thin
            specular += thin * self._incidence(np.minimum(cusps, 6))

    def _add_walls(
        self, diffuse: Field, specular: Field, lumen: Field, chambers: HeartChambers, details: HeartDetails
    ) -> None:
        """Linings of the cavities, which reflect where they face the beam; arterial walls are thick and bright."""
        facing = self._incidence(lumen)
        facing *= facing
        specular += 0.42 * _sheet(lumen - 0.5, 0.9) * facing
        arteries = _sheet(chambers.root.lumen - 1.0, 1.1) * (chambers.lv.cavity_open > 1)
        if details.descending_aorta is not None:
            arteries += 0.45 * _sheet(details.descending_aorta - 1.0, 1.3)
        specular += 0.75 * arteries * (0.10 + facing)
        diffuse += 0.30 * arteries

    def _add_pericardium(self, specular: Field, surface: Field, beside_ventricles: np.ndarray) -> None:
        outside = surface - self._heart.patient.effusion_mm
        sac = _sheet(outside - 0.8, 1.3) * np.where(beside_ventricles, np.float32(1), np.float32(0.25))
        facing = self._incidence(surface)
        facing *= facing
        facing *= facing
        specular += sac * (0.10 + 2.6 * facing) * self._facing_depth

    def _incidence(self, distance: Field) -> Field:
        return _incidence(distance, self._grid.sample_mm)


class SceneEcho:
    """Echo of a schematic scene."""

    def __init__(self, scene: Scene, grid: PolarGrid, pattern: ClipPattern, imaging: Imaging) -> None:
        self._scene, self._grid, self._pattern = scene, grid, pattern
        self._blood = _blood_echo(imaging)

    def at(self, points: Points, phase: float, speckle: TissueSpeckle) -> Echo:
        """Echo of the sample points at a phase of the cycle."""
        scene, background = self._scene.distances(points, phase), self._pattern.background
        specular = np.zeros_like(points[0])
        if scene.liver is None:
            fading = 0.6 + 0.4 * np.exp(np.clip(scene.lumen, 0, 50) * (-1 / 15))
            diffuse = 0.34 * background * fading
        else:
            diffuse = np.where(scene.liver < 0, 0.50 * background**0.25, 0.22 * background)
        if scene.diaphragm is not None:
            specular += 3.0 * _sheet(scene.diaphragm, 1.4)
        if scene.portal_vein is not None:
            specular += 1.2 * _sheet(scene.portal_vein - 1, 1.0)
        diffuse += (self._blood - diffuse) * _coverage(scene.lumen, 1.0)
        facing = _incidence(scene.lumen, self._grid.sample_mm)
        along, towards = scene.wall_reflection
        wall = _sheet(scene.lumen - 0.7, 1.1)
        specular += wall * (along + towards * facing * facing)
        diffuse += 0.3 * wall
        return Echo(diffuse, specular, points, scene.lumen < 0)


def _coverage(distance: Field, width_mm: float) -> Field:
    """1 inside a solid, 0 outside, with an edge of the given width."""
    return np.clip(0.5 - distance * (1 / width_mm), 0, 1)


def _sheet(distance: Field, width_mm: float) -> Field:
    """Gaussian profile of a thin sheet."""
    scaled = distance * (1 / width_mm)
    scaled *= scaled
    np.minimum(scaled, 12, out=scaled)
    np.negative(scaled, out=scaled)
    return np.exp(scaled, out=scaled)


def _incidence(distance: Field, sample_mm: float) -> Field:
    """Cosine between the beam and the normal of a surface: 1 where the surface faces the transducer."""
    change = np.empty_like(distance)
    np.subtract(distance[1:], distance[:-1], out=change[1:])
    change[0] = change[1]
    change *= 1 / sample_mm
    np.abs(change, out=change)
    np.minimum(change, 1, out=change)
    return change
