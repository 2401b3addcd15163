"""Step 4, model -> readings: SAL of every layer, channel and parameter; curvature of the loss."""

from howfar.probe.curvature import Curvature, curvature
from howfar.probe.probe import Probe
from howfar.probe.reading import Sharpness
from howfar.probe.reference import Released
from howfar.probe.second_order import SecondOrder, parameter_sharpness
from howfar.probe.sequential import Decision, decide
from howfar.probe.sharpness import sharpness
from howfar.probe.trajectory import Trajectory, following, trajectory

__all__ = [
    "Curvature", "Decision", "Probe", "Released", "SecondOrder", "Sharpness", "Trajectory", "curvature", "decide",
    "following", "parameter_sharpness", "sharpness", "trajectory",
]  # fmt: skip
