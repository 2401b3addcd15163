"""Noise or protected images from a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.data.pictures import read_picture
from howfar.data.tree import read_tree
from howfar.errors import HowfarError, UsageError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, labels_of
from howfar.tasks import Task
from howfar.training import pgd

VERSION = 2
EDGE = 1 + 1e-6  # 1 with a tolerance for rounding
LOUD = 0.25  # of the range of images: non-negative values beyond it may be images

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)


@dataclass(frozen=True)
class Imported(Protector):
    """Released noise or protected images, read from a file.

    No code in the file is executed. Reads ``.npy``, ``.npz`` (one array), ``.pt`` (weights only), or a folder of
    numbered images. Entry i belongs to the image with id i.

    Attributes:
        file: the file or folder.
        content: ``noise`` or protected ``images``; ``auto`` treats 8-bit arrays as images and others as noise, but
            rejects non-negative arrays that exceed a quarter of the range.
        unit: ``1`` for images in [0, 1], ``255`` for [0, 255]; ``auto`` takes 255 for integers and for values above 2,
            and rejects values between 1 and 2.
        rows: ``sample`` for one entry per image, ``class`` for one per class; ``auto`` decides by their number.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from howfar import protect
        >>> file = f"{tempfile.mkdtemp()}/noise.npy"
        >>> np.save(file, np.full((20, 3, 16, 16), 5 / 255, np.float32))
        >>> X, y = np.full((20, 3, 16, 16), 100, np.uint8), np.arange(20) % 2
        >>> int(protect(f"import[file={file}]", X, y).max())
        105
    """

    norm: ClassVar[str] = "any"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "nothing"

    file: Path
    content: Literal["auto", "noise", "images"] = "auto"
    unit: Literal["auto", "1", "255"] = "auto"
    rows: Literal["auto", "sample", "class"] = "auto"

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Read, validate and apply the file."""
        entries = self._arranged(read_array(self.file), data)
        which = self._which(entries, data, task)
        content, scale = self._interpreted(entries)
        draft.notes["entries"] = len(entries)
        pixels = arrays.empty_pixels(data.pixels.shape)
        for part in arrays.chunks(len(data), 2048):
            chosen = entries[which[part]]
            if content == "images":
                as_bytes = (
                    chosen if chosen.dtype == torch.uint8 else (chosen.double() * (255 / scale)).round().clamp(0, 255)
                )
                pixels[part] = as_bytes.to(torch.uint8)
            else:
                pixels[part] = pgd.add_rounded(data.pixels[part], chosen.float() / scale)
            yield Progress(part.stop, len(data))
        return data.with_pixels(pixels)

    def _interpreted(self, entries: Tensor) -> tuple[Literal["noise", "images"], float]:
        """Return whether entries are noise or images, and the value of white; raise an error if ambiguous."""
        low, high = float(entries.min()), float(entries.max())
        largest = max(high, -low)
        is_integer = not entries.is_floating_point()
        about = f"{self.file} holds values from {low:g} to {high:g}"
        if self.content == "images" and low < 0:
            raise HowfarError(f"{about}, but images are never negative. Undo their normalization.")
        if self.unit == "auto" and not is_integer and EDGE < largest < 2:
            raise HowfarError(
                f"{about}, too much for [0, 1] and too little for [0, 255]. Set the unit: unit=1 or unit=255."
            )
        scale = 255.0 if self.unit == "255" or (self.unit == "auto" and (is_integer or largest > EDGE)) else 1.0
        content = self.content
        if content == "auto":
            content = "images" if entries.dtype == torch.uint8 else "noise"
            if content == "noise" and low >= 0 and high / scale > LOUD:
                raise HowfarError(f"{about}: noise or images? Set content=noise or content=images.")
        if content == "noise" and largest / scale > EDGE:
            raise HowfarError(f"{about}, which is not noise. Check its unit.")
        if content == "images" and high > scale * EDGE:
            raise HowfarError(f"{about}, but images are in [0, {scale:g}]. Check the unit.")
        return content, scale

    def _arranged(self, entries: Tensor, data: Data) -> Tensor:
        """Return the validated entries as (entries, channels, height, width)."""
        if (
            not entries.ndim
            or not len(entries)
            or entries.dtype in (torch.bool, *COMPLEX)
            or entries.layout != torch.strided
        ):
            count = f"{len(entries)} entries" if entries.ndim else "a single number"
            raise HowfarError(
                f"{self.file} holds {count} of {entries.dtype}, neither images nor noise. Save 8-bit images or "
                "floating-point noise."
            )
        if entries.dtype in UNSIGNED:  # PyTorch does not support arithmetic on them
            entries = entries.to(torch.int64)
        if entries.ndim == 4 and entries.shape[1] == 3 and data.shape[0] == 1 and _is_gray(entries):
            entries = entries[:, :1]
        if entries.ndim == 4 and tuple(entries.shape[1:]) != data.shape:
            entries = entries.permute(0, 3, 1, 2)
        if entries.ndim != 4 or tuple(entries.shape[1:]) != data.shape:
            raise HowfarError(
                f"{self.file} holds an array of shape {tuple(entries.shape)}, but images are {data.shape}. "
                "Give one entry per image or class, channels first or last."
            )
        if entries.is_floating_point() and not torch.isfinite(entries).all():
            raise HowfarError(f"{self.file} holds values that are not finite. Create it again.")
        return entries

    def _which(self, entries: Tensor, data: Data, task: Task) -> Tensor:
        """Return the index of every image's entry."""
        rows, last = self.rows, int(data.ids.max())
        if rows == "auto":
            rows = "sample" if len(entries) > last else "class"
            kinds = int(labels_of(data, task).max()) + 1 if rows == "class" else 0
            if kinds < len(entries) and rows == "class":
                raise HowfarError(
                    f"{self.file} has {len(entries)} entries, neither one for each of {last + 1} images nor for each "
                    f"of {kinds} classes. Add the missing ones, or set rows=class."
                )
        if rows == "sample":
            if len(entries) <= last:
                raise HowfarError(
                    f"{self.file} has {len(entries)} entries, but there is an image with id {last}. Add entries."
                )
            return data.ids
        labels = labels_of(data, task)
        if len(entries) <= int(labels.max()):
            raise HowfarError(
                f"{self.file} has {len(entries)} entries, fewer than {last + 1} images and {int(labels.max()) + 1} "
                "classes. Give one entry per image or class."
            )
        return labels


def read_array(path: Path) -> Tensor:
    """Return the array in a file; no code in it is executed.

    Raises:
        UsageError: if there is no such file; HowfarError: if it is broken or of another kind.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give an .npy, .npz or .pt file, or a folder of images.")
    try:
        if path.suffix in (".pt", ".pth"):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
            found = next(iter(found.values())) if isinstance(found, dict) and len(found) == 1 else found
        else:
            found = np.load(path, allow_pickle=False)
            found = found[found.files[0]] if not isinstance(found, np.ndarray) and len(found.files) == 1 else found
            found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
    except Exception as error:  # unpicklers, archives and parsers fail in many ways
        raise HowfarError(f"{path} cannot be read safely ({error}). Save it again with numpy.save.") from None
    if not isinstance(found, Tensor):
        raise HowfarError(f"{path} does not hold a single array. Save it again with numpy.save.")
    return found


def _read_folder(path: Path) -> Tensor:
    files: dict[int, Path] = {}
    for file in sorted(path / name for name in read_tree(path).names if name.lower().endswith(".png")):
        if not (file.stem.isascii() and file.stem.isdecimal()):
            raise HowfarError(f"{file} is not named by a number. Rename or remove it.")
        other = files.setdefault(int(file.stem), file)
        if other is not file:
            raise HowfarError(
                f"{other} and {file} are both number {int(file.stem)}. Name images by the ids of the set."
            )
    if not files or sorted(files) != list(range(len(files))):
        raise HowfarError(f"{path} must hold images named 0.png, 1.png, … without gaps. Rename them by id.")
    images = [_pixels(files[number]) for number in range(len(files))]
    if len({image.shape for image in images}) > 1:
        raise HowfarError(f"{path} holds images of different shapes. Resize them.")
    stacked = torch.from_numpy(np.stack(images))
    return stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Return the values of an 8-bit image; palettes are converted to RGB."""
    image = read_picture(path)
    if image.mode in ("P", "PA", "1"):
        image = image.convert({"1": "L", "PA": "RGBA"}.get(image.mode, "RGB"))
    found = np.asarray(image)
    if found.dtype != np.uint8:
        raise HowfarError(f"{path} has more than 8 bits per channel. Save it with 8.")
    return found


def _is_gray(entries: Tensor) -> bool:
    """Return whether all channels are equal."""
    return bool((entries == entries[:, :1]).all())
