"""Mixtures of protected images with the learner's own clean ones."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field

from howfar.data import Data, balanced
from howfar.defend.defense import Defense, Learner
from howfar.errors import UsageError

VERSION = 1


def mix(clean: Annotated[int, Field(ge=1)] = 500, *, alone: bool = False) -> Defense:
    """Mixture: trains on the protected images and on some clean ones of the learner's own.

    With ``alone``, on the clean ones only, repeated to the size of the mixture, so that the number of steps is the
    same. From both follows what the protected images are worth to this learner; see ``howfar.score.worth``.

    Args:
        clean: number of clean images, class-balanced, of those held out for the learner; a larger number includes a
            smaller one.
        alone: leave the protected images out.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, Data
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = Data.from_arrays(torch.randint(256, (60, 3, 16, 16), dtype=torch.uint8), torch.arange(60) % 2)
        >>> protected, own = data.take(range(40)), data.take(range(40, 60))
        >>> DEFENSES["mix"](clean=10).purify(protected, Learner(classification()(data), clean=own))
        Data(50 images of 3×16×16; targets: label)
    """
    return Defense(purify=partial(_mixed, count=clean, alone=alone), needs_clean=True, ignores=alone)


def _mixed(data: Data, learner: Learner, *, count: int, alone: bool) -> Data:
    few = learner.few
    if count > len(few):
        raise UsageError(
            f"mix needs {count} clean images, but the learner has {len(few)}. Hold out twice as many: "
            f"--set held_out={2 * count}."
        )
    own = balanced(few, count, target=learner.task.target)
    if alone:
        again = torch.arange(len(data) + count) % count
        targets = {name: values[again] for name, values in own.targets.items()}
        return Data(own.pixels[again], targets, torch.arange(len(again)))
    targets = {name: torch.cat([values, own.targets[name]]) for name, values in data.targets.items()}
    return Data(torch.cat([data.pixels, own.pixels]), targets, torch.cat([data.ids, own.ids]))
