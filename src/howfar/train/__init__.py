"""Step 3, Data -> model: the training loop, evaluation and the recipe."""

from howfar.train.loop import Epoch, evaluate, train
from howfar.train.recipe import Recipe

__all__ = ["Epoch", "Recipe", "evaluate", "train"]
