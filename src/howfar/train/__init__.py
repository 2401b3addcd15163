"""Step 3, Data -> model: training loop, evaluation and recipes."""

from howfar.train.adversarial import adversarial
from howfar.train.loop import Batch, Epoch, evaluate, steps, train
from howfar.train.loss import Around, Loss, plain, unchanged
from howfar.train.precision import chosen
from howfar.train.recipe import Recipe
from howfar.train.recipes import RECIPES, recipe_for

__all__ = [
    "RECIPES",
    "Around",
    "Batch",
    "Epoch",
    "Loss",
    "Recipe",
    "adversarial",
    "chosen",
    "evaluate",
    "plain",
    "recipe_for",
    "steps",
    "train",
    "unchanged",
]  # fmt: skip
