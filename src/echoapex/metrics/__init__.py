"""Metrics of classification, segmentation and agreement, and their uncertainty. numpy and scipy only."""

from echoapex.metrics.agreement import (
    LimitsOfAgreement,
    MetricError,
    intraclass_correlation,
    limits_of_agreement,
    mean_absolute_error,
    pearson,
    r2,
    root_mean_square_error,
)
from echoapex.metrics.classification import (
    ReliabilityBin,
    accuracy,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_auroc,
    recall_per_class,
    reliability_bins,
    top_k_accuracy,
)
from echoapex.metrics.segmentation import dice, hd95_mm, iou, mean_surface_distance_mm
from echoapex.metrics.uncertainty import (
    PairedDifference,
    bootstrap_interval,
    exact_share_interval,
    paired_bootstrap,
)

__all__ = [
    "LimitsOfAgreement",
    "MetricError",
    "PairedDifference",
    "ReliabilityBin",
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "bootstrap_interval",
    "confusion_matrix",
    "dice",
    "exact_share_interval",
    "expected_calibration_error",
    "hd95_mm",
    "intraclass_correlation",
    "iou",
    "limits_of_agreement",
    "macro_auroc",
    "mean_absolute_error",
    "mean_surface_distance_mm",
    "paired_bootstrap",
    "pearson",
    "r2",
    "recall_per_class",
    "reliability_bins",
    "root_mean_square_error",
    "top_k_accuracy",
]
