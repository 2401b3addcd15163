"""Step 4, model -> readings: SAL of every layer."""

from howfar.probe.reference import Released
from howfar.probe.sharpness import Sharpness, sharpness

__all__ = ["Released", "Sharpness", "sharpness"]
