"""Named recipes, and the default recipe of each network."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from howfar.errors import UsageError, unknown
from howfar.spec import reason
from howfar.training.recipe import Recipe

OWN = "own"  # name for the network's default recipe

RECIPES: dict[str, Recipe] = {
    "sgd": Recipe(),
    "paper": Recipe.paper(),
    # Jordan 2024, arXiv:2404.00498, with batches of 1,000 images and at least 8 epochs.
    "fast": Recipe(
        epochs=8, lr=11.5, momentum=0.85, weight_decay=0.0153, batch_size=500, optimizer="nesterov",
        schedule="one-cycle", crop=2, padding="reflect", alternate=True, smoothing=0.2, bias_rate=64.0, average=5,
    ),
    "adamw": Recipe(
        epochs=15, lr=0.001, weight_decay=0.05, batch_size=128, optimizer="adamw", schedule="one-cycle",
        crop=2, padding="reflect",
    ),
    "fine-tune": Recipe(
        epochs=6, lr=0.001, weight_decay=0.01, batch_size=100, optimizer="adamw", schedule="one-cycle",
        crop=2, padding="reflect",
    ),
    "dense": Recipe(
        epochs=12, lr=0.003, weight_decay=0.01, batch_size=50, optimizer="adamw", schedule="one-cycle", crop=0
    ),
}  # fmt: skip
DEFAULT = "sgd"
OF_NETWORK = {
    "airbench": "fast",
    "vit-small": "adamw",
    "unet": "dense",
    "pretrained": "fine-tune",
}  # all others take DEFAULT


def recipe_for(network: str, name: str = OWN, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a network.

    Args:
        network: its name in ``MODELS``, without settings.
        name: of a recipe; ``own`` takes the network's default.
        settings: overriding fields, as values or text.

    Raises:
        UsageError: for an unknown recipe or setting, or an invalid value.
    """
    name = OF_NETWORK.get(network, DEFAULT) if name == OWN else name
    if name not in RECIPES:
        raise unknown("recipe", name, [OWN, *RECIPES])
    base = RECIPES[name].__dict__
    for key in settings or {}:
        if key not in base:
            raise unknown("key", f"train.{key}", {f"train.{known}" for known in base})
    try:
        return TypeAdapter(Recipe).validate_python({**base, **(settings or {})})
    except ValidationError as error:
        what = error.errors()[0]
        place = ".".join(["train", *map(str, what["loc"])])
        raise UsageError(f"{place} = {what['input']!r} is wrong: {reason(what)}.") from None
