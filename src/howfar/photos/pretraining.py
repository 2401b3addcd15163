"""A network pretrained on other photographs, kept in a file for learners that fine-tune it."""

from pathlib import Path

import torch
from torch import nn

from howfar import arrays
from howfar.data import Data, balanced, source
from howfar.defend.fine_tune import fitted
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.features import last_linear
from howfar.spec import parse
from howfar.spec.syntax import quoted
from howfar.store import Store
from howfar.tasks import classification
from howfar.training import Recipe, train
from howfar.unfinished import temporary

VERSION = 1
MOST = 4000  # photographs to pretrain on
EPOCHS = 10


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

    The file holds the weights without the head, as safetensors. Its name depends on all that determines them.

    Args:
        data: from ``other_photographs``.
        model: spec of the network.
        folder: of the file.
    """
    from safetensors.torch import save_file

    spec = parse(model, MODELS, "model")
    about = {"data": data.digest(), "model": spec.key(), "epochs": EPOCHS, "version": VERSION}
    path = folder / f"pretrained-{Store.key('pretrained', about)}.safetensors"
    if path.exists():
        return path
    task = classification()(data)
    network = build(spec.build(), data.shape, task.outputs, generator=arrays.seeded(0, "pretrained"))
    recipe = Recipe(epochs=EPOCHS, batch_size=64, optimizer="adam", lr=0.005, crop=2, flip=True)
    list(train(network, data, task, recipe, seed=0))
    new = folder / temporary(path.name)
    save_file(without_head(network), new)
    new.rename(path)
    return path


def without_head(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of a network except those of its head."""
    head = last_linear(network)
    own = {name for name, module in network.named_modules() if module is head}
    return {
        name: tensor.detach().contiguous().clone()
        for name, tensor in network.state_dict().items()
        if name.rpartition(".")[0] not in own
    }
