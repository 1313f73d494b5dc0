"""Content of ``metrics.json``: every number with its count, its interval, and how many cases got no answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echoapex.config import Config
from echoapex.vocabulary import Quantity, Structure, View

METRICS_VERSION: Literal["1.3"] = "1.3"


class Score(Config):
    """One metric; ``value`` is None when nothing could be scored."""

    value: float | None = None
    n: int = Field(default=0, description="cases behind the value")
    interval: tuple[float, float] | None = Field(
        default=None, description="95 % bootstrap interval, patients resampled; None with fewer than two patients"
    )
    missing: int = Field(default=0, description="cases with a truth for which no answer was written")


class Confusion(Config):
    """Counts of clips: row the true view, column the predicted one; the last column is 'no view written'."""

    rows: tuple[View, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Reliability(Config):
    """Clips whose most probable view has a probability in one of ten bins; empty bins are left out."""

    cases: int
    confidence: float = Field(description="mean probability of the most probable view")
    accuracy: float = Field(description="share of the clips of which it is the true one")


class ViewScores(Config):
    """View classification, one vote per clip; a clip without a view counts as wrong.

    ``given`` is true when the analysis was told the views; then there is nothing to score.
    """

    given: bool = False
    accuracy: Score = Field(default=Score(), description="share of clips with the right view")
    balanced_accuracy: Score = Score()
    balanced_accuracy_transthoracic: Score = Field(default=Score(), description="only clips of the surface probe")
    recall: dict[View, Score] = Field(default_factory=dict)
    macro_auroc: Score = Field(default=Score(), description="one view against the rest, mean over the views")
    expected_calibration_error: Score = Field(default=Score(), description="of the most probable view, 10 bins")
    reliability: tuple[Reliability, ...] = Field(default=(), description="what the calibration error sums up")
    confusion: Confusion | None = None
    baseline_pixels: Score = Field(
        default=Score(), description="balanced accuracy of pixel PCA + logistic regression on the same clips"
    )


class StructureScores(Config):
    """Overlap of one structure over the labelled frames of all views that show it; a missing mask counts as 0.

    Distances between outlines, in mm, are means over the frames with an outline and a spacing; the others are missing.
    """

    dice: Score = Score()
    iou: Score = Score()
    hd95_mm: Score = Score()
    surface_mm: Score = Score()
    by_view: dict[View, Score] = Field(default_factory=dict)


class SegmentationScores(Config):
    """The six structures."""

    lv_cavity: StructureScores = StructureScores()
    lv_myocardium: StructureScores = StructureScores()
    left_atrium: StructureScores = StructureScores()
    right_ventricle: StructureScores = StructureScores()
    right_atrium: StructureScores = StructureScores()
    aortic_root: StructureScores = StructureScores()

    def of(self, structure: Structure) -> StructureScores:
        """Scores of one structure."""
        scores: StructureScores = getattr(self, structure.key)
        return scores


class EjectionFractionScores(Config):
    """Agreement per study, in percentage points of ejection fraction."""

    method: Quantity = Quantity.LVEF
    reference: str = ""
    mae: Score = Score()
    rmse: Score = Score()
    r2: Score = Score()
    bias: Score = Field(default=Score(), description="mean of measured minus true")
    lower_limit: Score = Field(default=Score(), description="Bland-Altman: bias - 1.96 SD of the differences")
    upper_limit: Score = Field(default=Score(), description="Bland-Altman: bias + 1.96 SD of the differences")
    icc: Score = Field(default=Score(), description="ICC(2,1), absolute agreement")
    auroc_below_50: Score = Field(default=Score(), description="how well it tells who has less than 50 %")
    auroc_below_40: Score = Field(default=Score(), description="how well it tells who has less than 40 %")


class VolumeScores(Config):
    """Agreement of a volume per study."""

    mae_ml: Score = Score()
    bias_ml: Score = Score()


class WallScores(Config):
    """Agreement of one wall dimension per study."""

    mae_mm: Score = Score()
    bias_mm: Score = Score()


class LvWallScores(Config):
    """The three dimensions of PLAX at end-diastole."""

    ivsd: WallScores = WallScores()
    lvidd: WallScores = WallScores()
    lvpwd: WallScores = WallScores()


class LvhScores(Config):
    """LV hypertrophy: a mass index above the limit of the patient's sex (ASE 2015)."""

    hypertrophied: int = Field(default=0, description="studies behind the AUROC that truly have it")
    mass_index_mae_g_per_m2: Score = Score()
    auroc: Score = Field(
        default=Score(), description="how well the written mass index over that limit tells who has it"
    )


class SubgroupScores(Config):
    """Headline scores of the patients who share a trait; too few of them say little, see ``n`` and the intervals."""

    patients: int
    views: Score = Field(default=Score(), description="share of clips with the right view")
    lv_cavity_dice: Score = Score()
    lv_myocardium_dice: Score = Score()
    ejection_fraction_mae: Score = Score()
    ejection_fraction_bias: Score = Score()


class MetricsFile(Config):
    """The whole of ``metrics.json``."""

    metrics_version: Literal["1.1", "1.2", "1.3"] = Field(
        default=METRICS_VERSION,
        description="1.1 has no reliability of the views and no hypertrophy; 1.2 has no accuracy of the views and does "
        "not count who has hypertrophy",
    )
    echoapex_version: str
    dataset: str
    split: str
    bundles: dict[str, str] = Field(
        default_factory=dict, description="bundle: sha256 of its weights, as in the reports"
    )
    studies: int
    studies_without_results: int
    clips: int
    views: ViewScores
    segmentation: SegmentationScores
    ejection_fraction: EjectionFractionScores
    ejection_fraction_discs: EjectionFractionScores
    volumes: dict[Literal["edv", "esv"], VolumeScores]
    lv_wall: LvWallScores
    lvh: LvhScores = LvhScores()
    subgroups: dict[str, dict[str, SubgroupScores]] = Field(
        default_factory=dict, description="trait (sex, age, image quality, vendor, frame rate): value: scores"
    )
    notes: tuple[str, ...] = Field(default=(), description="what of the data set is not scored, and why")
