"""A folder of images with one subfolder per class, or ``train/`` and ``test/`` with such subfolders."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from howfar import arrays
from howfar.data.pictures import extent, read_rgb
from howfar.data.subset import halves
from howfar.data.tree import Tree, images_of, parts_of, read_tree
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.spec import LARGEST_SIDE

MOST_HEADERS = 2000  # read in a dry run
OUTSIDE, UNUSED = "outside the class subfolders", "in a validation set, as there is a test set"


@dataclass(frozen=True)
class _Layout:
    """Layout of a folder.

    Attributes:
        classes: names of the classes; empty if there are none.
        train: training images, class by class.
        test: test images, class by class; None if there is no test folder.
        left_out: reasons why other images are skipped, by name.
    """

    classes: list[str]
    train: list[list[Path]]
    test: list[list[Path]] | None
    left_out: dict[str, str]


def folder(root: Path, size: int = 0, test_share: float = 0.2, flip: bool = True) -> Splits:
    """Your own images: one subfolder per class, or ``train/`` and ``test/`` with one subfolder per class each.

    ``val/``, ``valid/`` or ``validation/`` is the test set if there is no ``test/``. Without subfolders the images have
    no classes, and only tasks that need none can be used, such as ``edge_texture``. Hidden files are skipped.

    Args:
        root: the folder.
        size: resize the shorter side to this many pixels, then center-crop; 0 keeps images as they are.
        test_share: share of each class for the clean test set if there is no ``test/``.
        flip: whether images may be mirrored in training.

    Raises:
        UsageError: if the folder is missing or needs ``size``; HowfarError: for an empty class or a broken image.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from howfar import DATASETS
        >>> root = Path(tempfile.mkdtemp())
        >>> for place in ("train/cat/0.png", "train/dog/0.png", "test/cat/1.png", "test/dog/1.png"):
        ...     (root / place).parent.mkdir(parents=True)
        ...     Image.new("RGB", (48, 40)).save(root / place)
        >>> DATASETS["folder"](root, size=32).train
        Data(2 images of 3×32×32; targets: label)
    """
    if not 0 <= size <= LARGEST_SIDE:
        raise UsageError(
            f"size = {size} is not a valid size. Use 1 to {LARGEST_SIDE} pixels, or 0 to keep images as they are."
        )
    found = _laid_out(Path(root), test_share)
    train = _read(found.train, size, first_id=0)
    if found.test is None:
        train, test = halves(train, test_share, target="label")
    else:
        test = _read(found.test, size, first_id=len(train))
        if train.shape != test.shape:
            raise UsageError(
                f"{root}: training images are {train.shape}, test images {test.shape}. Add a size, as in "
                "folder:PATH[size=32]."
            )
    if not found.classes:
        train, test = replace(train, targets={}), replace(test, targets={})
    return Splits(train, test, tuple(found.classes), flip)


def counted(root: Path, test_share: float) -> tuple[list[Path], list[str], int, int]:
    """Return the images of a folder, its classes, and the numbers of training and test images; reads no image.

    Raises:
        UsageError: if the folder cannot be used; HowfarError: for an empty class.
    """
    found = _laid_out(root, test_share)
    paths = [path for side in (found.train, found.test or []) for members in side for path in members]
    sizes = [len(members) for members in found.train]
    if found.test is not None:
        return paths, found.classes, sum(sizes), sum(len(members) for members in found.test)
    test = sum(min(max(round(test_share * size), 1), size - 1) for size in sizes)  # as ``halves`` splits
    return paths, found.classes, sum(sizes) - test, test


def check_headers(paths: Sequence[Path], size: int) -> int:
    """Read the headers of up to ``MOST_HEADERS`` images, evenly spaced; returns their number.

    Raises:
        HowfarError: for a file that is no image; UsageError: for images of several sizes without ``size``.
    """
    some = paths[:: -(-len(paths) // MOST_HEADERS)]
    sides = [extent(path) for path in some]
    for path, found in zip(some, sides, strict=True):
        if not size and found != sides[0]:
            raise _mixed(path, found, some[0], sides[0])
    return len(some)


def _mixed(path: Path, sides: tuple[int, int], other: Path, others: tuple[int, int]) -> UsageError:
    """Return the error for two images of different width and height."""
    return UsageError(
        f"{path} is {sides[0]}×{sides[1]}, but {other} is {others[0]}×{others[1]}. Resize them to one size, as in "
        "folder:PATH[size=32]."
    )


def left_out(root: Path) -> dict[str, str]:
    """Return the images in a folder that are skipped, with the reason; raises as ``folder``."""
    return _laid_out(root, 0.5).left_out


def _laid_out(root: Path, test_share: float) -> _Layout:
    """Return the layout of a folder, or raise an error if it cannot be used."""
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder. Give a folder with one subfolder of images per class.")
    if not 0 < test_share < 1:
        raise UsageError(f"test_share = {test_share} is not a valid share. Use a number between 0 and 1, such as 0.2.")
    tree = read_tree(root, links=True)
    left = images_of(tree.left_out)
    parts = {part: name for name, part in parts_of(name for name in tree.folders if "/" not in name).items()}
    if parts and "training" not in parts:
        raise UsageError(
            f"{root} holds {' and '.join(parts.values())} but no train. Add it, or name the class folders."
        )
    tested = parts.get("test", parts.get("validation"))
    if "test" in parts and "validation" in parts:
        left |= {name: UNUSED for name in tree.names if name.startswith(f"{parts['validation']}/")}
    train = f"{parts['training']}/" if parts else ""
    classes = _classes(tree, train)
    if len(classes) == 1:
        raise UsageError(f"{root} holds only one class. Make one subfolder per class, or none at all.")
    if tested and _classes(tree, f"{tested}/") != classes:
        raise HowfarError(f"{root}: {train} and {tested}/ have different subfolders. Give both the same classes.")
    sides = [train, *([f"{tested}/"] if tested else [])]
    members = [_members(root, tree, side, classes) for side in sides]
    used = {path.relative_to(root).as_posix() for side in members for one in side for path in one}
    left |= {name: OUTSIDE for name in tree.names if name not in used and name not in left}
    return _Layout(classes, members[0], members[1] if tested else None, left)


def _classes(tree: Tree, inside: str) -> list[str]:
    """Return the direct subfolders, sorted."""
    below = [name.removeprefix(inside) for name in tree.folders if name.startswith(inside)]
    return sorted(name for name in below if name and "/" not in name)


def _members(root: Path, tree: Tree, inside: str, classes: list[str]) -> list[list[Path]]:
    """Return the images of every class, sorted; all images if there are no classes."""
    found = []
    for place in [f"{inside}{name}/" for name in classes] or [inside]:
        members = [PurePosixPath(name) for name in tree.names if name.startswith(place)]
        if not members:
            raise HowfarError(f"{root / place} holds no image. Add images to it, or give another folder.")
        found.append([root / name for name in sorted(members)])
    return found


def _read(members: list[list[Path]], size: int, *, first_id: int) -> Data:
    """Return the images of all classes, labeled by class index."""
    paths = [path for one in members for path in one]
    labels = [label for label, one in enumerate(members) for _ in one]
    first, _ = decoded(paths[0], size)
    pixels = arrays.empty_pixels((len(paths), *first.shape))

    def fill(index: int) -> bool:
        image, gray = decoded(paths[index], size)
        if image.shape != first.shape:
            raise _mixed(paths[index], image.shape[:0:-1], paths[0], first.shape[:0:-1])
        pixels[index] = torch.from_numpy(image)
        return gray

    with ThreadPoolExecutor() as pool:
        if all(list(pool.map(fill, range(len(paths))))):
            pixels = pixels[:, :1].clone()
    ids = torch.arange(first_id, first_id + len(paths))
    return Data(pixels=pixels, targets={"label": torch.tensor(labels)}, ids=ids)


def decoded(path: Path, size: int) -> tuple[NDArray[np.uint8], bool]:
    """Return one image, rotated upright, as (3, height, width), and whether the file is grayscale."""
    image, gray = read_rgb(path)
    if size:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)), gray
