"""Adversarial training (Madry et al., ICLR 2018, arXiv:1706.06083)."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from howfar.defend.defense import Defense
from howfar.spec import Number
from howfar.training import Loss, adversarial

VERSION = 2


def at(
    norm: Literal["linf", "l2"] = "linf",
    eps: Annotated[Number, Field(gt=0)] = 8 / 255,
    steps: Annotated[int, Field(ge=1)] = 10,
) -> Defense:
    """Adversarial training: the loss on worst-case images within eps (Madry et al., ICLR 2018, arXiv:1706.06083).

    As in APBench: PGD in eval mode, from Gaussian noise with the standard deviation of one step (2/255), then a
    training step on the result. Differs from APBench: the start is projected; a step is 2.5·eps/steps for every eps,
    whereas APBench keeps 2/255, which limits its L2 attack to 0.09.

    Args:
        norm: of the ball.
        eps: its radius, images in [0, 1]; 8/255 is for L∞, 0.5 or 1 for L2.
        steps: of PGD, each of 2.5·eps/steps; an epoch costs as much as steps + 1 plain ones.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["at"](eps=4 / 255, steps=2).around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=partial(_around, norm=norm, eps=eps, steps=steps), passes=1.0 + steps)


def _around(inner: Loss, done: float, *, norm: Literal["linf", "l2"], eps: float, steps: int) -> Loss:
    return partial(adversarial, norm=norm, eps=eps, steps=steps, start="normal", inner=inner)
