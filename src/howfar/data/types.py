"""Images with targets, and data sets with training and test splits."""

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
        pixels: uint8, (n, channels, height, width), so that saving is lossless.
        targets: by name, one entry per image, first axis n.
        ids: int64, (n,), unique and stable: noise and seeds depend on the id, never on the position.
    """

    pixels: Pixels
    targets: dict[str, Tensor]
    ids: Ids

    def __repr__(self) -> str:
        """Return number and shape of the images and the names of the targets."""
        shape = "×".join(map(str, self.pixels.shape[1:]))
        return f"Data({len(self)} images of {shape}; targets: {', '.join(self.targets)})"

    def __post_init__(self) -> None:
        """Raise ``HowfarError`` if images, targets and ids do not match."""
        self._check_pixels()
        for name, column in {**self.targets, "ids": self.ids}.items():
            if len(column) != len(self.pixels):
                raise HowfarError(f"{len(self.pixels)} images but {len(column)} entries in '{name}'. Align them.")
        if len(self.ids.unique()) != len(self.ids):
            raise HowfarError("image ids are not unique, so noise cannot depend on them. Give every image its own id.")

    def _check_pixels(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise HowfarError(
                f"pixels must be uint8 of shape (n, channels, height, width), not {self.pixels.dtype} "
                f"{tuple(self.pixels.shape)}. Convert them with Data.from_arrays."
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, index: Tensor | Sequence[int]) -> "Data":
        """Return the images at the given positions, in this order."""
        index = torch.as_tensor(index, dtype=torch.int64)
        pixels = arrays.empty_pixels((len(index), *self.shape))
        for part in arrays.chunks(len(index), 4096):
            pixels[part] = self.pixels[index[part]]
        targets = {name: target[index] for name, target in self.targets.items()}
        return replace(self, pixels=pixels, targets=targets, ids=self.ids[index])

    def targets_of(self, target: str) -> Any:
        """Return the target of this name; for names joined by ``+``, a ``dict`` of targets."""
        names = target.split("+")
        return self.targets[target] if len(names) == 1 else {name: self.targets[name] for name in names}

    @property
    def classes(self) -> str | None:
        """Name of the target with the class of each image; None if there is none."""
        kinds = [name for name, values in self.targets.items() if values.ndim == 1 and not values.is_floating_point()]
        return "label" if "label" in kinds else min(kinds, default=None)

    def with_pixels(self, pixels: Pixels) -> "Data":
        """Return a copy with other pixels, as protectors and purifiers return it."""
        return replace(self, pixels=pixels)

    def digest(self) -> str:
        """Return the SHA-256 over pixels, targets and ids."""
        names = sorted(self.targets)
        return arrays.digest(self.pixels, self.ids, *(self.targets[name] for name in names))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set with its splits.

    Attributes:
        train: training images; may be protected.
        test: test images; always clean.
        clean: held-out clean images for the learner's own use; None if there are none.
        validation: other held-out clean images, for model selection.
        classes: names of the classes; empty if the images have none.
        flip: whether mirroring keeps the class (it does not for digits).
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
            f"Splits({len(self.train)} training and {len(self.test)} test images of {shape}, {held} held out, "
            f"{kinds} classes)"
        )


def labeled(pixels: Tensor, labels: Tensor, *, first_id: int = 0, target: str = "label") -> Data:
    """Return images with one categorical target and consecutive ids from ``first_id``."""
    ids = torch.arange(first_id, first_id + len(pixels))
    return Data(pixels=pixels, targets={target: labels.long()}, ids=ids)
