"""What is looked at around finished trajectories: surfaces of the loss, and how it bends."""

from howfar.views.bends import bent
from howfar.views.costs import curvature_seconds, landscape_seconds
from howfar.views.surfaces import View, look

__all__ = ["View", "bent", "curvature_seconds", "landscape_seconds", "look"]
