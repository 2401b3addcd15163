"""Images with targets, and data sets with training and test splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

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

    @property
    def why_no_classes(self) -> str:
        """Why ``classes`` is None, and what to pass; empty where it is not."""
        if self.classes is not None:
            return ""
        for name, values in self.targets.items():
            if values.ndim == 1:
                return f"'{name}' holds floating-point numbers. Pass integers from 0: y.astype(int)."
            if values.ndim == 2:
                return f"'{name}' holds {values.shape[1]} numbers per image, like one-hot labels. Pass y.argmax(1)."
        known = f"only {', '.join(map(repr, self.targets))}" if self.targets else "no targets at all"
        return f"there are {known}. Pass one integer from 0 per image."

    def with_pixels(self, pixels: Pixels) -> "Data":
        """Return a copy with other pixels, as protectors and purifiers return it."""
        return replace(self, pixels=pixels)

    @classmethod
    def from_arrays(
        cls, X: Any, y: Any = None, *, channels: Literal["first", "last"] | None = None,
        scale: Literal[1, 255] | None = None, ids: Any = None,
    ) -> "Data":  # fmt: skip
        """Return your own images with their targets.

        Images are kept as bytes. Floating-point images are rounded to multiples of 1/255.

        Args:
            X: images, NumPy or torch: (n, height, width), (n, channels, height, width) or (n, height, width, channels),
                with 1 or 3 channels; uint8, integers from 0 to 255, or floating-point numbers in [0, 1] or [0, 255].
            y: classes as integers from 0, (n,) or (n, 1), which become the target ``label``; or a ``dict`` of targets
                by name: classes of images, classes of pixels (n, height, width) with 255 for none, or numbers, per
                pixel also with channels first or last.
            channels: where the channels are. None infers it, unless the shape allows both.
            scale: value of white in floating-point images. None infers it, unless the values allow both.
            ids: of the images, int64, (n,); None numbers them from 0.

        Raises:
            HowfarError: if layout or range are ambiguous or not supported, or the targets do not fit.

        Example:
            >>> import numpy as np
            >>> Data.from_arrays(np.full((4, 32, 32, 3), 0.5), [0, 1, 0, 1])
            Data(4 images of 3×32×32; targets: label)
        """
        from howfar.data.own import data_of

        return data_of(X, y, channels=channels, scale=scale, ids=ids)

    @classmethod
    def from_torch(
        cls, dataset: Any, *, targets: Sequence[str] = (), size: int = 0,
        channels: Literal["first", "last"] | None = None, scale: Literal[1, 255] | None = None,
    ) -> "Data":  # fmt: skip
        """Return all items of a map-style torch data set, such as those of torchvision.

        Items are ``image``, ``(image, target)``, ``(image, target, ...)`` or mappings with an ``image``. Use a data set
        without random augmentation and without normalization.

        Args:
            dataset: its images are PIL images, tensors or arrays, as ``from_arrays`` takes them.
            targets: names of the targets, in their order; a single number per image is called ``label``.
            size: resize the shorter side of PIL images to this many pixels, then center-crop; 0 keeps them as they are.
            channels: as in ``from_arrays``.
            scale: as in ``from_arrays``.

        Raises:
            UsageError: for a data set without a length, or targets without names; HowfarError: for images of different
            sizes, and as ``from_arrays``.

        Example:
            >>> import torch
            >>> dataset = torch.utils.data.TensorDataset(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]))
            >>> Data.from_torch(dataset)
            Data(4 images of 3×32×32; targets: label)
        """
        from howfar.data.from_datasets import from_torch

        return from_torch(dataset, targets=targets, size=size, channels=channels, scale=scale)

    @classmethod
    def from_huggingface(
        cls, dataset: Any, *, image: str = "", targets: Sequence[str] = (), size: int = 0,
        channels: Literal["first", "last"] | None = None, scale: Literal[1, 255] | None = None,
    ) -> "Data":  # fmt: skip
        """Return all rows of one split of a Hugging Face data set (``datasets.Dataset``).

        Args:
            dataset: one split.
            image: column of the images; empty takes the only one of type ``Image``.
            targets: columns of the targets; empty takes those of type ``ClassLabel``, or ``label``. A single one is
                called ``label``.
            size: as in ``from_torch``.
            channels: as in ``from_arrays``.
            scale: as in ``from_arrays``.

        Raises:
            UsageError: for several splits, or if a column is missing or not unique; HowfarError: as ``from_torch``.
        """
        from howfar.data.from_datasets import from_huggingface

        return from_huggingface(
            dataset, image=image, targets=targets, size=size, channels=channels, scale=scale
        )  # fmt: skip

    def to_torch(self, target: str | None = None, *, transform: Callable[[Tensor], Any] | None = None) -> Any:
        """Return a map-style torch data set of pairs: image, float32 in [0, 1], (channels, height, width), and target.

        Args:
            target: its name; None takes the classes of the images, or the only target. A class is an ``int``.
            transform: applied to each image, such as an augmentation or a normalization.

        Raises:
            UsageError: if there is no such target.

        Example:
            >>> image, label = Data.from_arrays(torch.zeros(2, 8, 8), [1, 0]).to_torch()[0]
            >>> image.shape, label
            (torch.Size([1, 8, 8]), 1)
        """
        from howfar.data.exports import Images

        return Images.of(self, target, transform)

    def to_huggingface(self, classes: Sequence[str] = ()) -> Any:
        """Return a ``datasets.Dataset`` with the columns ``image`` (PNG), ``id`` and one per target.

        Args:
            classes: names of the classes of the images; empty numbers them.
        """
        from howfar.data.exports import to_huggingface

        return to_huggingface(self, classes)

    def to_folder(self, path: str | Path, classes: Sequence[str] = ()) -> None:
        """Write the images as PNG files, one subfolder per class, as ``folder:PATH`` reads them.

        Args:
            path: a new or empty folder.
            classes: names of the classes; empty numbers them. Without classes, all images are in ``path`` itself.

        Raises:
            UsageError: if the folder is not empty; HowfarError: if it cannot be written.
        """
        from howfar.data.exports import to_folder

        to_folder(self, path, classes)

    def to_webdataset(self, path: str | Path, *, shard: int = 1000) -> list[Path]:
        """Write WebDataset shards, ``00000.tar`` and so on; returns their paths.

        An image with the id 7 is ``0000007.png``; its class is in ``0000007.cls``, and every other target in
        ``0000007.NAME.npy``.

        Args:
            path: a new or empty folder.
            shard: images per shard, in their order.

        Raises:
            UsageError: if the folder is not empty; HowfarError: if it cannot be written.
        """
        from howfar.data.exports import to_webdataset

        return to_webdataset(self, path, shard)

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
