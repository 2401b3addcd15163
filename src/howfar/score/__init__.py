"""Step 5, readings -> numbers: UD, drop, visibility and their intervals."""

from howfar.score.alignment import learning_alignment
from howfar.score.correlation import Correlation, rank_correlation
from howfar.score.differing import Differing, differing, groups_that_differ
from howfar.score.dose import DoseResponse, dose_response
from howfar.score.drop import drop
from howfar.score.estimate import Estimate, from_json, to_json
from howfar.score.paired import Paired, Variances, false_discoveries, packed, paired, unpacked
from howfar.score.paths import Paths, distances, paths
from howfar.score.retention import retention
from howfar.score.unlearnable_distance import CleanRuns, Distance, two_means, unlearnable_distance
from howfar.score.visibility import Visibility, psnr_text, recorded, ssim_text, visibility
from howfar.score.worst_case import Best, Trials, WorstCase, at_most, kept_text, worst_case
from howfar.score.worth import worth

__all__ = [
    "Best",
    "CleanRuns",
    "Correlation",
    "Differing",
    "Distance",
    "DoseResponse",
    "Estimate",
    "Paired",
    "Paths",
    "Trials",
    "Variances",
    "Visibility",
    "WorstCase",
    "at_most",
    "differing",
    "distances",
    "dose_response",
    "drop",
    "false_discoveries",
    "from_json",
    "groups_that_differ",
    "kept_text",
    "learning_alignment",
    "packed",
    "paired",
    "paths",
    "psnr_text",
    "rank_correlation",
    "recorded",
    "retention",
    "ssim_text",
    "to_json",
    "two_means",
    "unlearnable_distance",
    "unpacked",
    "visibility",
    "worst_case",
    "worth",
]
