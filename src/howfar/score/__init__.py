"""Step 5, readings -> numbers: UD, drop, visibility and their intervals."""

from howfar.score.drop import Drop, drop
from howfar.score.unlearnable_distance import Distance, two_means, unlearnable_distance
from howfar.score.visibility import Visibility, visibility

__all__ = ["Distance", "Drop", "Visibility", "drop", "two_means", "unlearnable_distance", "visibility"]
