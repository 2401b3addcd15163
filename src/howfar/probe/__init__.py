"""Step 4, model -> readings: SAL of every layer."""

from howfar.probe.sharpness import Sharpness, sharpness

__all__ = ["Sharpness", "sharpness"]
