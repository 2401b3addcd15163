"""Training of networks on other images, whose weights learners then start from."""

import os
from pathlib import Path
from typing import Any

import torch

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.features import last_linear
from howfar.models.weights_file import CHANNELS, NETWORK, SUFFIX
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training.loop import train
from howfar.training.recipes import recipe_for
from howfar.unfinished import atomic_write

VERSION = 1


def pretrain(
    data: Data, network: str, file: str | os.PathLike[str], *, seed: int = 0, device: str | torch.device = "cpu",
    **settings: Any,
) -> Path:  # fmt: skip
    """Train a network on labeled images and write its weights without the head, for ``pretrained[weights=FILE]``.

    Args:
        data: training images with classes.
        network: an entry of ``MODELS``, e.g. ``resnet18[width=16]``.
        file: to write, a ``.safetensors`` file; written atomically.
        seed: of initial weights and batches.
        device: to train on.
        settings: fields of the network's recipe to override, such as ``epochs=4``.

    Returns:
        the file.

    Raises:
        UsageError: if the images have no classes, or for another ending of the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import howfar
        >>> data = howfar.DATASETS["digits"]().train.take(range(200))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     howfar.pretrain(data, "resnet8[width=4]", Path(folder) / "digits.safetensors", epochs=1).name
        'digits.safetensors'
    """
    from safetensors.torch import save

    path, spec = Path(file), parse(network, MODELS, "model")
    if path.suffix != SUFFIX:
        raise UsageError(f"{path} does not end in {SUFFIX}. Weights are written as safetensors.")
    if data.classes is None:
        raise UsageError("these images have no classes to pretrain on. Give labeled images.")
    task = classification()(data)
    generator = arrays.seeded(seed, "pretrained")
    model = build(spec.build(), data.shape, task.outputs, generator=generator).to(device)
    list(train(model, data, task, recipe_for(spec.name, settings=settings), seed=seed))
    head = last_linear(model)
    own = {name for name, module in model.named_modules() if module is head}
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
        if name.rpartition(".")[0] not in own
    }
    with atomic_write(path) as draft:
        draft.write_bytes(save(tensors, {NETWORK: spec.label, CHANNELS: str(data.shape[0])}))
    return path
