"""Noise or images that somebody else made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar import arrays, pgd
from howfar.data import Data
from howfar.data.pictures import read_picture
from howfar.data.tree import read_tree
from howfar.errors import HowfarError, UsageError
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, labels_of
from howfar.tasks import Task

VERSION = 2
EDGE = 1 + 1e-6  # rounding of floats may exceed 1 by so much
LOUD = 0.25  # of the range of images: what is never below 0 and goes further may be images


UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)


@dataclass(frozen=True)
class Imported(Protector):
    """Released noise or protected images, read from a file.

    Nothing in it is executed. Reads ``.npy``, ``.npz`` (one array), ``.pt`` (weights only), or a folder of images named
    by number. Entries follow the images' ids: entry i belongs to id i.

    Attributes:
        file: what to read.
        content: ``noise`` or protected ``images``; ``auto`` takes 8-bit arrays for images and others for noise, but
            refuses what never is below 0 and goes beyond a quarter of the range.
        unit: ``1`` if images are in [0, 1], ``255`` if in [0, 255]; ``auto`` takes whole numbers and what exceeds 2 for
            255, and refuses what is between 1 and 2.
        rows: ``sample`` if there is an entry an image, ``class`` if there is one a label; ``auto`` decides by their
            number.
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
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Read, check, apply."""
        entries = self._arranged(read_array(self.file), data)
        which = self._which(entries, data, task)
        content, scale = self._meant(entries)
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

    def _meant(self, entries: Tensor) -> tuple[Literal["noise", "images"], float]:
        """Return what the entries are, and the value that stands for white; refuse what the file leaves open."""
        low, high = float(entries.min()), float(entries.max())
        largest = max(high, -low)
        whole = not entries.is_floating_point()
        told = f"{self.file} holds values from {low:g} to {high:g}"
        if self.content == "images" and low < 0:
            raise HowfarError(f"{told}, but images are never below 0. Undo their normalization.")
        if self.unit == "auto" and not whole and EDGE < largest < 2:
            raise HowfarError(
                f"{told}, too much for images in [0, 1] and little for 0 to 255. Name the unit: 1 or 255."
            )
        scale = 255.0 if self.unit == "255" or (self.unit == "auto" and (whole or largest > EDGE)) else 1.0
        content = self.content
        if content == "auto":
            content = "images" if entries.dtype == torch.uint8 else "noise"
            if content == "noise" and low >= 0 and high / scale > LOUD:
                raise HowfarError(f"{told}: noise or images? Name the content, content=noise or content=images.")
        if content == "noise" and largest / scale > EDGE:
            raise HowfarError(f"{told}, which is no noise. Check its unit.")
        if content == "images" and high > scale * EDGE:
            raise HowfarError(f"{told}, but images lie in 0 to {scale:g}. Check the unit.")
        return content, scale

    def _arranged(self, entries: Tensor, data: Data) -> Tensor:
        """Return the entries as (entries, channels, height, width), checked."""
        if (
            not entries.ndim
            or not len(entries)
            or entries.dtype in (torch.bool, *COMPLEX)
            or entries.layout != torch.strided
        ):
            count = f"{len(entries)} entries" if entries.ndim else "a single number"
            raise HowfarError(
                f"{self.file} holds {count} of {entries.dtype}, neither images nor noise. Save 8-bit images or noise "
                "in floats."
            )
        if entries.dtype in UNSIGNED:  # PyTorch computes nothing with them
            entries = entries.to(torch.int64)
        if entries.ndim == 4 and entries.shape[1] == 3 and data.shape[0] == 1 and _is_gray(entries):
            entries = entries[:, :1]
        if entries.ndim == 4 and tuple(entries.shape[1:]) != data.shape:
            entries = entries.permute(0, 3, 1, 2)
        if entries.ndim != 4 or tuple(entries.shape[1:]) != data.shape:
            raise HowfarError(
                f"{self.file} holds an array of shape {tuple(entries.shape)}, but images are {data.shape}. "
                "Give one entry an image or a class, channels first or last."
            )
        if entries.is_floating_point() and not torch.isfinite(entries).all():
            raise HowfarError(f"{self.file} holds values that are not finite. Make it anew.")
        return entries

    def _which(self, entries: Tensor, data: Data, task: Task) -> Tensor:
        """Return the entry of every image."""
        rows, last = self.rows, int(data.ids.max())
        if rows == "auto":
            rows = "sample" if len(entries) > last else "class"
            kinds = int(labels_of(data, task).max()) + 1 if rows == "class" else 0
            if kinds < len(entries) and rows == "class":
                raise HowfarError(
                    f"{self.file} has {len(entries)} entries, neither one for each of {last + 1} images nor for each "
                    f"of {kinds} classes. Add those that lack, or name rows=class."
                )
        if rows == "sample":
            if len(entries) <= last:
                raise HowfarError(f"{self.file} has {len(entries)} entries, but there is an image {last}. Add them.")
            return data.ids
        labels = labels_of(data, task)
        if len(entries) <= int(labels.max()):
            raise HowfarError(
                f"{self.file} has {len(entries)} entries, fewer than {last + 1} images and {int(labels.max()) + 1} "
                "classes. Give one entry an image or a class."
            )
        return labels


def read_array(path: Path) -> Tensor:
    """Return the one array in a file; nothing in it is executed.

    Raises:
        UsageError: if there is no such file; HowfarError: if it is broken or of another kind.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UsageError(f"{path} is no file. Give an .npy, .npz or .pt file, or a folder of images.")
    try:
        if path.suffix in (".pt", ".pth"):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
            found = next(iter(found.values())) if isinstance(found, dict) and len(found) == 1 else found
        else:
            found = np.load(path, allow_pickle=False)
            found = found[found.files[0]] if not isinstance(found, np.ndarray) and len(found.files) == 1 else found
            found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
    except Exception as error:  # unpicklers, archives and parsers fail in many ways
        raise HowfarError(f"{path} cannot be read safely ({error}). Save it anew with numpy.save.") from None
    if not isinstance(found, Tensor):
        raise HowfarError(f"{path} holds no single array. Save it anew with numpy.save.")
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
    """Return the values of an image of 8 bits; a palette's colors stand for its indices."""
    image = read_picture(path)
    if image.mode in ("P", "PA", "1"):
        image = image.convert({"1": "L", "PA": "RGBA"}.get(image.mode, "RGB"))
    found = np.asarray(image)
    if found.dtype != np.uint8:
        raise HowfarError(f"{path} has more than 8 bits a color. Save it with 8.")
    return found


def _is_gray(entries: Tensor) -> bool:
    """Return whether the three channels of all entries are one."""
    return bool((entries == entries[:, :1]).all())
