"""How strong the noise of photographs is, in words."""

from typing import Literal

Strength = Literal["low", "mid", "high"]
# CIEDE2000 difference of the extremes of the noise on smooth areas, and largest change of any value. ``high`` is the
# noise as it was crafted: it is seen, and the only one that took much from the networks of docs/photographs.md.
STRENGTHS: dict[str, tuple[float | None, str]] = {"low": (0.5, "4/255"), "mid": (1.0, "8/255"), "high": (None, "8/255")}
STRENGTH: Strength = "high"
PROTECTOR = "carriers[cell=2,mirrored=true]"
SIDES = (64,)  # of the thumbnails that noise is crafted on, pixels
CLUSTERS = 10  # that stand in for labels
