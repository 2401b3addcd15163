"""Noise or images that somebody else made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from howfar import arrays, pgd
from howfar.data import Data
from howfar.data.pictures import read_picture
from howfar.errors import HowfarError, UsageError
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, labels_of
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class Imported(Protector):
    """Noise or protected images that somebody released, from a file.

    Nothing in it is executed. Reads ``.npy``, ``.npz`` (one array), ``.pt`` (weights only), or a folder of images named
    by number. Entries follow the images' ids: entry i belongs to id i.

    Attributes:
        file: what to read.
        content: ``noise`` or protected ``images``; ``auto`` takes 8-bit arrays for images.
        unit: of noise: ``1`` if images are in [0, 1], ``255`` if in [0, 255]; ``auto`` decides by the largest value.
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
        content = self.content
        if content == "auto":
            content = "images" if entries.dtype == torch.uint8 else "noise"
        scale = 1.0
        if content == "noise":
            largest = float(entries.abs().max())
            scale = 255.0 if self.unit == "255" or (self.unit == "auto" and largest > 1) else 1.0
            if largest / scale > 1:
                raise HowfarError(f"{self.file} holds noise up to {largest:g}, which is no noise. Check its unit.")
        pixels = arrays.empty_pixels(data.pixels.shape)
        for part in arrays.chunks(len(data), 2048):
            chosen = entries[which[part]]
            if content == "images":
                as_bytes = chosen if chosen.dtype == torch.uint8 else (chosen * 255).round().clamp(0, 255)
                pixels[part] = as_bytes.to(torch.uint8)
            else:
                pixels[part] = pgd.add_rounded(data.pixels[part], chosen.float() / scale)
            yield Progress(part.stop, len(data))
        return data.with_pixels(pixels)

    def _arranged(self, entries: Tensor, data: Data) -> Tensor:
        """Return the entries as (entries, channels, height, width), checked."""
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
    files = {int(file.stem): file for file in path.rglob("*.png") if file.stem.isdigit()}
    if not files or sorted(files) != list(range(len(files))):
        raise HowfarError(f"{path} must hold images named 0.png, 1.png, … without gaps. Rename them by id.")
    images = [np.asarray(read_picture(files[number])) for number in range(len(files))]
    if len({image.shape for image in images}) > 1:
        raise HowfarError(f"{path} holds images of different shapes. Resize them.")
    stacked = torch.from_numpy(np.stack(images))
    return stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
