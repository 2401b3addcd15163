"""Step 3, Data -> model: the training loop, evaluation and the recipe."""

from howfar.train.adversarial import adversarial
from howfar.train.loop import Epoch, Step, evaluate, steps, train
from howfar.train.loss import Around, Loss, plain, unchanged
from howfar.train.recipe import Recipe

__all__ = [
    "Around", "Epoch", "Loss", "Recipe", "Step", "adversarial", "evaluate", "plain", "steps", "train", "unchanged",
]  # fmt: skip
