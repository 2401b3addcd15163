"""A network pretrained on other photographs, kept in a file for the model ``pretrained``."""

from pathlib import Path
from typing import Any

from howfar.data import Data, balanced, source
from howfar.defend.fine_tune import fitted
from howfar.errors import UsageError
from howfar.models import MODELS
from howfar.spec import parse
from howfar.spec.syntax import quoted
from howfar.store import Store
from howfar.training import pretrain
from howfar.training.pretraining import VERSION

MOST = 4000  # photographs to pretrain on
RECIPE: dict[str, Any] = {
    "epochs": 10, "batch_size": 64, "optimizer": "adam", "schedule": "cosine", "lr": 0.005, "weight_decay": 5e-4,
    "crop": 2, "flip": True,
}  # fmt: skip


def other_photographs(name: str, size: int) -> Data:
    """Return labeled photographs to pretrain on, at most ``MOST``, resized to a square.

    Args:
        name: a folder with subfolders, an ``.npz`` archive, or the name of a data set.
        size: side in pixels.

    Raises:
        UsageError: if they have no labels.
    """
    path = Path(name)
    spec = f"folder:{quoted(name)}[size={size}]" if path.is_dir() else f"npz:{name}" if path.suffix == ".npz" else name
    found = source(spec).build().train
    if "label" not in found.targets:
        raise UsageError(f"--pretrain {name} has no labels to pretrain on. Give a folder with one subfolder per kind.")
    chosen = balanced(found, min(MOST, len(found)), target="label")
    return fitted(chosen, (3, size, size))


def pretrained(data: Data, model: str, folder: Path) -> Path:
    """Return the file of a network trained on other photographs; it is trained if there is none yet.

    Its name depends on all that determines the weights.

    Args:
        data: from ``other_photographs``.
        model: spec of the network.
        folder: of the file.
    """
    about = {
        "data": data.digest(), "model": parse(model, MODELS, "model").key(), "recipe": RECIPE, "version": VERSION
    }  # fmt: skip
    path = folder / f"pretrained-{Store.key('pretrained', about)}.safetensors"
    return path if path.exists() else pretrain(data, model, path, **RECIPE)
