"""Named strengths of the noise on photographs."""

from typing import Literal

Strength = Literal["low", "mid", "high"]
# Largest CIEDE2000 difference that noise makes on smooth areas, and largest change of any value. ``high`` is the noise
# as it was crafted: it is visible, and alone protects (docs/photographs-measured.md).
STRENGTHS: dict[str, tuple[float | None, str]] = {"low": (0.5, "4/255"), "mid": (1.0, "8/255"), "high": (None, "8/255")}
STRENGTH: Strength = "high"
PROTECTOR = "carriers[cell=2,mirrored=true]"
SIDES = (64,)  # of the thumbnails that noise is crafted on, pixels
CLUSTERS = 10  # that stand in for labels
