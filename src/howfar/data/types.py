"""The two shapes that data have: a set of images with targets, and its training and test part."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import Ids, Pixels
from howfar.errors import HowfarError


@dataclass(frozen=True, eq=False)
class Data:
    """Images with their targets.

    Attributes:
        pixels: uint8, (n, channels, height, width). Eight bits, so that saving is exact.
        targets: task target -> one entry per image, first axis n.
        ids: int64, (n,), unique and stable: noise and seeds follow the id, never the position.
    """

    pixels: Pixels
    targets: dict[str, Tensor]
    ids: Ids

    def __repr__(self) -> str:
        """Return number and shape of the images and the names of their targets."""
        shape = "×".join(map(str, self.pixels.shape[1:]))
        return f"Data({len(self)} images of {shape}; targets: {', '.join(self.targets)})"

    def __post_init__(self) -> None:
        """Raise ``HowfarError`` where images, targets and ids do not belong together."""
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise HowfarError(
                f"pixels must be uint8 of shape (n, channels, height, width), not {self.pixels.dtype} "
                f"{tuple(self.pixels.shape)}. Convert them first."
            )
        for name, column in {**self.targets, "ids": self.ids}.items():
            if len(column) != len(self.pixels):
                raise HowfarError(f"{len(self.pixels)} images but {len(column)} entries in '{name}'. Align them.")
        if len(self.ids.unique()) != len(self.ids):
            raise HowfarError("image ids repeat, so noise could not follow them. Give every image an id of its own.")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, index: Tensor | Sequence[int]) -> "Data":
        """Return the images at these positions, in this order."""
        index = torch.as_tensor(index, dtype=torch.int64)
        pixels = arrays.empty_pixels((len(index), *self.shape))
        for part in arrays.chunks(len(index), 4096):
            pixels[part] = self.pixels[index[part]]
        targets = {name: target[index] for name, target in self.targets.items()}
        return replace(self, pixels=pixels, targets=targets, ids=self.ids[index])

    def answers(self, target: str) -> Any:
        """Return the target of this name; of names joined by ``+`` a ``dict`` of them."""
        names = target.split("+")
        return self.targets[target] if len(names) == 1 else {name: self.targets[name] for name in names}

    @property
    def classes(self) -> str | None:
        """Name of the target that says what kind of image each is; None where no target does."""
        kinds = [name for name, values in self.targets.items() if values.ndim == 1 and not values.is_floating_point()]
        return "label" if "label" in kinds else min(kinds, default=None)

    def with_pixels(self, pixels: Pixels) -> "Data":
        """Return the same images with other pixels: how protectors and purifiers answer."""
        return replace(self, pixels=pixels)

    def digest(self) -> str:
        """Return the SHA-256 over pixels, targets and ids."""
        names = sorted(self.targets)
        return arrays.digest(self.pixels, self.ids, *(self.targets[name] for name in names))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: what learners train on, and the clean images they are judged by.

    Attributes:
        train: may be protected.
        test: always clean.
        clean: a few clean images of the learner's own, kept back from training; None if there are none.
        validation: other clean images to choose by, kept back as well.
        classes: names of the values of the target that says what kind of image each is; empty where none does.
        flip: whether a mirrored image still shows its class (no for digits).
    """

    train: Data
    test: Data
    classes: tuple[str, ...]
    flip: bool
    clean: Data | None = None
    validation: Data | None = None

    def __repr__(self) -> str:
        """Return numbers and shape of the images."""
        held = sum(len(part) for part in (self.clean, self.validation) if part is not None)
        shape, kinds = "×".join(map(str, self.train.shape)), len(self.classes)
        return (
            f"Splits({len(self.train)} training and {len(self.test)} test images of {shape}, {held} held back, "
            f"{kinds} classes)"
        )


def labelled(pixels: Tensor, labels: Tensor, *, first_id: int = 0, target: str = "label") -> Data:
    """Return images with one categorical target and ids counted from ``first_id``."""
    ids = torch.arange(first_id, first_id + len(pixels))
    return Data(pixels=pixels, targets={target: labels.long()}, ids=ids)
