"""Networks that are pretrained once and kept in the store."""

from dataclasses import replace

import torch

from howfar.data import DATASETS, balanced
from howfar.defend.fine_tune import fitted
from howfar.models import Architecture, Shape
from howfar.models.pretrained import Pretrained, nested
from howfar.spec import parse
from howfar.store import Store
from howfar.training import recipe_for
from howfar.training.pretraining import VERSION, pretrain

FOLDER = "pretrained"
STEPS, EPOCHS = 100, 10  # at least so many: small sets need smaller batches than the recipe's
SMALLEST = 32  # images of a batch


def ready(architecture: Architecture, store: Store, shape: Shape, device: torch.device) -> Architecture:
    """Return an architecture whose weights are in a file: those of ``pretrained[data=...]`` are trained if needed.

    Args:
        architecture: of the victim; others than ``pretrained`` are returned as they are.
        store: keeps the file. Workers that need it at the same time train it twice, with the same result.
        shape: of the victim's images.
        device: to train on.
    """
    if not isinstance(architecture, Pretrained) or not architecture.data:
        return architecture
    (network,) = nested(vars(architecture))
    about = {
        "data": architecture.data, "limit": architecture.limit, "shape": list(shape), "version": VERSION,
        "network": network.key(), "steps": STEPS, "epochs": EPOCHS,
    }  # fmt: skip
    path = store.root / FOLDER / f"{Store.key(FOLDER, about)}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        splits = parse(architecture.data, DATASETS, "dataset").build()
        data = fitted(balanced(splits.train, min(architecture.limit, len(splits.train))), shape)
        own = recipe_for(network.name)
        batch = min(own.batch_size, max(len(data) // STEPS, SMALLEST))
        pretrain(data, network.label, path, device=device, batch_size=batch, epochs=max(own.epochs, EPOCHS))
    return replace(architecture, weights=path, data="")
