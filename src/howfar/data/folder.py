"""A folder of images, one subfolder a class; or ``train/`` and ``test/`` with such subfolders each."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from howfar import arrays
from howfar.data.pictures import read_rgb
from howfar.data.subset import halves
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


def folder(root: Path, size: int = 0, test_share: float = 0.2, flip: bool = True) -> Splits:
    """Your own images: one subfolder a class, or ``train/`` and ``test/`` with one subfolder a class each.

    Without subfolders the images have no classes; tasks that need none remain, such as ``edge_texture``.

    Args:
        root: the folder.
        size: resize to this side in pixels (shorter side, then centre crop); 0 takes images as they are.
        test_share: share of each class kept as clean test images where there is no ``test/``.
        flip: whether learners may mirror the images.

    Raises:
        UsageError: if the folder is missing or needs ``size``; HowfarError: for an empty class or broken image.
    """
    root = Path(root)
    split, classes = _laid_out(root, test_share)
    if split and not classes and not _classes(root / "test"):
        train, test = _parts(root, [""], size)
        return Splits(replace(train, targets={}), replace(test, targets={}), (), flip)
    if not classes and not split:
        whole = _read(root, [""], size, first_id=0)
        train, test = halves(whole, test_share, target="label")
        return Splits(replace(train, targets={}), replace(test, targets={}), (), flip)
    if not split:
        train, test = halves(_read(root, classes, size, first_id=0), test_share)
        return Splits(train, test, tuple(classes), flip)
    if _classes(root / "test") != classes:
        raise HowfarError(f"{root}: train/ and test/ have different subfolders. Give both the same classes.")
    train, test = _parts(root, classes, size)
    return Splits(train, test, tuple(classes), flip)


def _parts(root: Path, classes: list[str], size: int) -> tuple[Data, Data]:
    """Return the images of ``train/`` and ``test/``."""
    train = _read(root / "train", classes, size, first_id=0)
    test = _read(root / "test", classes, size, first_id=len(train))
    if train.shape != test.shape:
        raise UsageError(
            f"{root}: train/ is {train.shape}, test/ is {test.shape}. Add a size, as in folder:PATH[size=32]."
        )
    return train, test


def _laid_out(root: Path, test_share: float) -> tuple[bool, list[str]]:
    """Return whether a folder is split into ``train`` and ``test``, and its classes; refuse what cannot be used."""
    if not root.is_dir():
        raise UsageError(f"{root} is no folder. Give a folder with one subfolder of images a class.")
    if not 0 < test_share < 1:
        raise UsageError(f"test_share = {test_share} is no share. Take a number between 0 and 1, such as 0.2.")
    split = (root / "train").is_dir() and (root / "test").is_dir()
    classes = _classes(root / "train" if split else root)
    if len(classes) == 1:
        raise UsageError(f"{root} holds one class, which cannot be told from others. Make a subfolder each, or none.")
    return split, classes


def counted(root: Path, test_share: float) -> tuple[Path, list[str], int, int]:
    """Return the first image of a folder, its classes, and how many images train and test; reads none of them.

    Raises:
        UsageError: if the folder cannot be used; HowfarError: for an empty class.
    """
    split, classes = _laid_out(root, test_share)
    parts = [_members(root / part, classes or [""]) for part in (("train", "test") if split else ("",))]
    first = parts[0][0][0]
    if split:
        train, test = (sum(len(members) for members in part) for part in parts)
        return first, classes, train, test
    sizes = [len(members) for members in parts[0]]
    test = sum(min(max(round(test_share * size), 1), size - 1) for size in sizes)  # as ``halves`` splits
    return first, classes, sum(sizes) - test, test


def _members(root: Path, classes: list[str]) -> list[list[Path]]:
    """Return the images of every class, sorted."""
    found = []
    for name in classes:
        members = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not members:
            raise HowfarError(f"{root / name} holds no image. Remove the folder or add images to it.")
        found.append(members)
    return found


def _classes(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read(root: Path, classes: list[str], size: int, *, first_id: int) -> Data:
    paths: list[Path] = []
    labels: list[int] = []
    for label, members in enumerate(_members(root, classes)):
        paths += members
        labels += [label] * len(members)
    first, _ = decoded(paths[0], size)
    pixels = arrays.empty_pixels((len(paths), *first.shape))

    def fill(index: int) -> bool:
        image, gray = decoded(paths[index], size)
        if image.shape != first.shape:
            raise UsageError(
                f"{paths[index]} is {image.shape[2]}×{image.shape[1]}, but {paths[0]} is "
                f"{first.shape[2]}×{first.shape[1]}. Give them one size, as in folder:PATH[size=32]."
            )
        pixels[index] = torch.from_numpy(image)
        return gray

    with ThreadPoolExecutor() as pool:
        if all(list(pool.map(fill, range(len(paths))))):
            pixels = pixels[:, :1].clone()
    ids = torch.arange(first_id, first_id + len(paths))
    return Data(pixels=pixels, targets={"label": torch.tensor(labels)}, ids=ids)


def decoded(path: Path, size: int) -> tuple[NDArray[np.uint8], bool]:
    """Return one image, upright, as (3, height, width), and whether the file is gray."""
    image, gray = read_rgb(path)
    if size:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)), gray
