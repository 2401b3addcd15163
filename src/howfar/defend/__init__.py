"""Step 3a, what a learner does against protection: one defense a file, all of them named in ``DEFENSES``."""

from collections.abc import Callable

from howfar.defend.cutout import cutout
from howfar.defend.defense import Defense, Loss, none, plain
from howfar.defend.jpeg import jpeg

DEFENSES: dict[str, Callable[..., Defense]] = {"none": none, "cutout": cutout, "jpeg": jpeg}

__all__ = ["DEFENSES", "Defense", "Loss", "plain"]
