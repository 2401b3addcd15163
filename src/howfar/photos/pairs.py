"""Photographs and their protected copies as training images: resized, after typical upload transforms."""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from howfar.data.pictures import read_rgb
from howfar.data.tree import labels_by_folder
from howfar.errors import UsageError
from howfar.naming import paired
from howfar.photos.listing import photos_in
from howfar.photos.manifest import MANIFEST, entries_of

Pair = tuple[str, str, str]  # name of the original, name of the protected copy, label
Transform = Callable[[Image.Image], Image.Image]


def pairs_of(photos: Path, protected: Path) -> list[Pair]:
    """Return pairs of photographs and protected copies, by the manifest if there is one, else by name.

    Raises:
        UsageError: if there are no pairs, or names are ambiguous (``howfar.naming.paired``).
        HowfarError: if the manifest is damaged or names files outside the folder.
    """
    names = photos_in(photos)
    if (protected / MANIFEST).is_file():
        entries = [entry for entry in entries_of(protected) if entry["status"] != "skipped"]
        known = {entry["name"]: (entry["output"], str(entry.get("label", ""))) for entry in entries}
    else:
        labels = labels_by_folder(names)
        known = {name: (copy, labels.get(name, "")) for name, copy in paired(names, photos_in(protected)).items()}
    found = [(name, *known[name]) for name in names if name in known]
    if not found:
        raise UsageError(
            f"no file in {protected} is a copy of one in {photos}. Give the folder that howfar protect wrote."
        )
    return found


def read_images(files: Sequence[Path], size: int, transform: Transform, *, workers: int) -> NDArray[np.uint8]:
    """Return transformed, center-cropped and resized images, (n, size, size, 3).

    Args:
        files: images.
        size: side in pixels.
        transform: applied to each image at its own size.
        workers: number of threads.
    """

    def read(path: Path) -> NDArray[np.uint8]:
        small = ImageOps.fit(transform(read_rgb(path)[0]), (size, size), Image.Resampling.LANCZOS)
        return np.asarray(small, np.uint8)

    with ThreadPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(read, files)))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _scaled(image: Image.Image, share: float) -> Image.Image:
    width, height = (max(round(side * share), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    """Return a part of an image: what an upload cuts off is a bit more on one side than on the other."""
    width, height = (max(round(side * share), 1) for side in image.size)
    left, top = (image.width - width) // 3, (image.height - height) // 3
    return image.crop((left, top, left + width, top + height))


WAYS: Mapping[str, Transform] = {
    "as-is": lambda image: image,
    "jpeg-75": lambda image: _jpeg(image, 75),
    "halved": lambda image: _scaled(image, 0.5),
    "screenshot": lambda image: _jpeg(_scaled(image, 0.7), 90),
    "cropped": lambda image: _cropped(image, 0.8),
}
