"""Step 3, Data -> model: training loop, evaluation and recipes."""

from howfar.training.adversarial import adversarial
from howfar.training.explain import explained
from howfar.training.loop import Batch, Epoch, evaluate, steps, train
from howfar.training.loss import Around, Loss, plain, unchanged
from howfar.training.precision import chosen
from howfar.training.pretraining import pretrain
from howfar.training.recipe import Recipe
from howfar.training.recipes import RECIPES, recipe_for

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
    "explained",
    "plain",
    "pretrain",
    "recipe_for",
    "steps",
    "train",
    "unchanged",
]  # fmt: skip
