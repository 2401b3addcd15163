"""Rotation prediction."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from howfar.data import Data
from howfar.tasks.classification import Classification
from howfar.tasks.task import derived

VERSION = 2  # 2: mirroring reverses the rotation


def rotation() -> Callable[[Data], Classification]:
    """Quarter turns by which an image was rotated (Gidaris et al., ICLR 2018); two classes if it is not square.

    The learner rotates the images itself, each by an angle drawn by id, so any data set will do. Mirroring a rotated
    image reverses its rotation.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["rotation"]()(data)
        >>> task.metric, int(task.outputs)
        ('accuracy', 4)
    """
    prepare = derived("rotation", _rotated)

    def of(data: Data) -> Classification:
        task = Classification.of(prepare(data), "rotation", prepare)
        return replace(task, mirror=tuple(-turn % task.outputs for turn in range(task.outputs)))

    return of


def _rotated(data: Data) -> tuple[Tensor, Tensor]:
    _, height, width = data.shape
    turns = data.ids % 4 if height == width else data.ids % 2
    step = 1 if height == width else 2
    pixels = data.pixels.clone()
    for turn in turns.unique().tolist():
        rows = (turns == turn).nonzero().flatten()
        pixels[rows] = data.pixels[rows].rot90(step * turn, (2, 3))
    return pixels, turns
