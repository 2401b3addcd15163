"""The learner's own clean images alone."""

import torch

from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1


def clean_only() -> Defense:
    """Baseline for defenses that use clean images: trains on the learner's few clean images alone.

    They are repeated to the size of the training set, so that training takes as many steps.
    """
    return Defense(purify=few_again, needs_clean=True)


def few_again(data: Data, learner: Learner) -> Data:
    """Return the learner's clean images, as often as there are protected ones."""
    few = learner.few
    again = torch.arange(max(len(data), len(few))) % len(few)
    return Data(
        few.pixels[again], {name: target[again] for name, target in few.targets.items()}, torch.arange(len(again))
    )
