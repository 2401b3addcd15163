"""The data set ``rooms``: rendered once, then cached."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import files, maps
from howfar.data.rooms.layout import SCENES, draw_room
from howfar.data.rooms.parts import CLASSES, OBJECTS
from howfar.data.rooms.render import View, render
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError
from howfar.spec import LARGEST_SIDE
from howfar.unfinished import atomic_write

VERSION = 2
VISIBLE = 0.004  # share of the image that an object must cover to count as visible
TEST_FROM = 2**40  # id of the first test room
CHANNELS = {
    "depth_euclidean": 1, "depth_zbuffer": 1, "normal": 3, "reshading": 1, "edge_occlusion": 1, "edge_texture": 1,
    "keypoints2d": 1, "segment_unsup2d": 1,
}  # of maps of numbers  # fmt: skip
PART = 100  # rooms that one process renders at a time


def rooms(
    size: Annotated[int, Field(ge=16, le=LARGEST_SIDE)] = 64,
    train: Annotated[int, Field(ge=1)] = 4000,
    test: Annotated[int, Field(ge=1)] = 1000,
    seed: Annotated[int, Field(ge=0)] = 0,
    root: Path | None = None,
) -> Splits:
    """Procedural indoor scenes, 6 kinds of rooms, with exact targets in Taskonomy's vocabulary.

    Targets: class_scene, class_object (which of ten kinds of objects are visible), segment_semantic (16 classes),
    depth_euclidean and depth_zbuffer (m), normal (right, up, toward the camera), reshading, edge_occlusion; and
    computed from the image: edge_texture, keypoints2d, segment_unsup2d. Room i depends only on ``seed`` and i. The
    scene class determines furniture and layout; colors, light and camera are independent of it.

    Args:
        size: side of the images in pixels.
        train: number of training images.
        test: number of test images.
        seed: of the rooms.
        root: cache folder; None takes ``$HOWFAR_DATA`` or ``~/.cache/howfar``.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["rooms"](size=16, train=8, test=2).train.shape
        (3, 16, 16)
    """
    folder = root if root is not None else files.default_root("rooms")
    parts = [
        kept(folder, size, seed, first, count) for first, count in ((0, train), (TEST_FROM, test))
    ]  # fmt: skip
    return Splits(parts[0], parts[1], SCENES, flip=True)


def outline_of(size: int, seed: int) -> Splits:
    """Return two training images and two test images of random pixels, with random targets of the true types.

    For outlines, which render nothing: scene classes are the first and the last one, and the last pixel class occurs.
    """
    parts = []
    for first in (0, TEST_FROM):
        generator = arrays.seeded(seed, "outline", first)
        maps = {name: torch.rand(2, count, size, size, generator=generator) for name, count in CHANNELS.items()}
        maps["normal"] = functional.normalize(maps["normal"] - 0.5, dim=1)
        classes = torch.randint(len(CLASSES), (2, size, size), generator=generator, dtype=torch.uint8)
        classes[1, 0, 0] = len(CLASSES) - 1
        targets = {
            "class_scene": torch.tensor([0, len(SCENES) - 1]),
            "class_object": torch.randint(2, (2, len(OBJECTS)), generator=generator, dtype=torch.uint8),
            "segment_semantic": classes,
            **{name: values.half() for name, values in maps.items()},
        }
        pixels = torch.randint(256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
        parts.append(Data(pixels, targets, torch.arange(first, first + 2)))
    return Splits(parts[0], parts[1], SCENES, flip=True)


def kept(folder: Path, size: int, seed: int, first: int, count: int) -> Data:
    """Return rooms from the cache, after rendering missing ones."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    path = folder / f"v{VERSION}-{size}px-seed{seed}-from{first}-{count}.safetensors"
    try:
        found = load_file(path)
    except FileNotFoundError:
        found = drawn(size, seed, range(first, first + count))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as draft:
                save_file(found, draft)
        except (OSError, SafetensorError) as error:
            raise HowfarError(f"could not write {path} ({error}). Set HOWFAR_DATA to a folder with room.") from None
    except (OSError, SafetensorError) as error:
        raise HowfarError(f"{path} is damaged ({error}). Delete it, and it is rendered again.") from None
    pixels, ids = found.pop("pixels"), found.pop("ids")
    return Data(pixels, found, ids)


def drawn(size: int, seed: int, numbers: range) -> dict[str, Tensor]:
    """Return images, ids and all targets of the rooms with these numbers, rendered in parallel."""
    import joblib

    parts = [numbers[part] for part in arrays.chunks(len(numbers), PART)]
    jobs = min(arrays.cores(), len(parts))
    found = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_part)(size, seed, part) for part in parts)
    joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in joined.items()}


def _part(size: int, seed: int, numbers: range) -> dict[str, NDArray[Any]]:
    columns: dict[str, list[NDArray[Any]]] = {"ids": [np.array(number) for number in numbers]}
    for number in numbers:
        rng = arrays.rng_of(seed, number)
        room = draw_room(rng)
        for name, value in _targets(room.scene, render(room, size, rng)):
            columns.setdefault(name, []).append(value)
    found = {name: np.stack(values) for name, values in columns.items()}
    pixels = torch.from_numpy(found["pixels"])
    for name in ("edge_texture", "keypoints2d", "segment_unsup2d"):
        found[name] = getattr(maps, name)(pixels).numpy()
    return found


def _targets(scene: int, view: View) -> Iterator[tuple[str, NDArray[Any]]]:
    from scipy.ndimage import gaussian_filter

    yield "pixels", (view.image * 255).round().astype(np.uint8)
    yield "class_scene", np.array(scene)
    share = np.bincount(view.segment.ravel(), minlength=len(CLASSES)) / view.segment.size
    yield "class_object", (share[-len(OBJECTS) :] > VISIBLE).astype(np.uint8)
    yield "segment_semantic", view.segment
    for name in ("depth_euclidean", "depth_zbuffer"):
        yield name, getattr(view, name).astype(np.float16)[None]
    yield "normal", view.normal.astype(np.float16)
    yield "reshading", view.reshading.astype(np.float16)[None]
    yield "edge_occlusion", gaussian_filter(view.edge_occlusion, 0.7).astype(np.float16)[None]
