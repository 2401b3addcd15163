"""Step 4, model -> readings: SAL of layers, channels and parameters; curvature, trajectories, the loss landscape."""

from howfar.probe.alignment import Alignment, alignment
from howfar.probe.curvature import Curvature, curvature
from howfar.probe.curve import curve, curve_coordinates
from howfar.probe.landscape import Landscape, along, landscape, scanning
from howfar.probe.plane import Plane, flat, layer_plane, line, pca_plane, random_plane, weight_plane
from howfar.probe.probe import Probe
from howfar.probe.reading import Sharpness
from howfar.probe.reference import Released
from howfar.probe.second_order import SecondOrder, parameter_sharpness
from howfar.probe.sequential import Decision, decide
from howfar.probe.sharpness import sharpness
from howfar.probe.slices import Slice, slices
from howfar.probe.trajectory import Trajectory, following, trajectory

__all__ = [
    "Alignment",
    "Curvature",
    "Decision",
    "Landscape",
    "Plane",
    "Probe",
    "Released",
    "SecondOrder",
    "Sharpness",
    "Slice",
    "Trajectory",
    "alignment",
    "along",
    "curvature",
    "curve",
    "curve_coordinates",
    "decide",
    "flat",
    "following",
    "landscape",
    "layer_plane",
    "line",
    "parameter_sharpness",
    "pca_plane",
    "random_plane",
    "scanning",
    "sharpness",
    "slices",
    "trajectory",
    "weight_plane",
]  # fmt: skip
