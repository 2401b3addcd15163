"""Step 5, readings -> numbers: UD, drop, visibility and their intervals."""

from howfar.score.correlation import Correlation, rank_correlation
from howfar.score.dose import DoseResponse, dose_response
from howfar.score.drop import Drop, drop
from howfar.score.retention import Retention, retention
from howfar.score.unlearnable_distance import Distance, two_means, unlearnable_distance
from howfar.score.visibility import Visibility, visibility
from howfar.score.worst_case import Trials, WorstCase, worst_case

__all__ = [
    "Correlation",
    "Distance",
    "DoseResponse",
    "Drop",
    "Retention",
    "Trials",
    "Visibility",
    "WorstCase",
    "dose_response",
    "drop",
    "rank_correlation",
    "retention",
    "two_means",
    "unlearnable_distance",
    "visibility",
    "worst_case",
]
