"""Training on the learner's clean images only."""

import torch

from howfar.data import Data
from howfar.defend.defense import Defense, Learner

VERSION = 1


def clean_only() -> Defense:
    """Baseline for defenses that use clean images: trains only on the learner's clean images.

    They are repeated to the size of the training set, so that the number of steps is the same.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2)
        >>> clean = data.take(range(10))
        >>> len(DEFENSES["clean-only"]().purify(data, Learner(classification()(data), clean=clean)))
        40
    """
    return Defense(purify=repeated_clean, needs_clean=True)


def repeated_clean(data: Data, learner: Learner) -> Data:
    """Return the learner's clean images, repeated to the number of protected ones."""
    few = learner.few
    again = torch.arange(max(len(data), len(few))) % len(few)
    return Data(
        few.pixels[again], {name: target[again] for name, target in few.targets.items()}, torch.arange(len(again))
    )
