"""What is looked at around finished trajectories: surfaces of the loss, and how it bends."""

from howfar.steps.costs import curvature_seconds, landscape_seconds
from howfar.steps.curvature import bent
from howfar.steps.landscape import View, look

__all__ = ["View", "bent", "curvature_seconds", "landscape_seconds", "look"]
