"""The data set ``rooms``: drawn once, then kept in the cache."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from howfar import arrays
from howfar.data import files, maps
from howfar.data.rooms.layout import SCENES, draw_room
from howfar.data.rooms.parts import CLASSES, OBJECTS
from howfar.data.rooms.render import View, render
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError
from howfar.spec import LARGEST_SIDE
from howfar.unfinished import whole

VERSION = 2
SEEN = 0.004  # share of the picture that an object must cover to count as there
TEST_FROM = 2**40  # test rooms have numbers of their own
SMALL = 48  # pixels: side of the rooms that stand for others
PART = 100  # rooms that one process draws at a time


def rooms(
    size: Annotated[int, Field(ge=16, le=LARGEST_SIDE)] = 64,
    train: Annotated[int, Field(ge=1)] = 4000,
    test: Annotated[int, Field(ge=1)] = 1000,
    seed: Annotated[int, Field(ge=0)] = 0,
    root: Path | None = None,
) -> Splits:
    """Procedural indoor scenes, 6 kinds of rooms, with exact targets in Taskonomy's vocabulary.

    Targets: class_scene, class_object (which of ten kinds of things are to be seen), segment_semantic (16 classes),
    depth_euclidean and depth_zbuffer (m), normal (right, up, towards the camera), reshading, edge_occlusion; and from
    the image edge_texture, keypoints2d, segment_unsup2d. Room i depends on seed and i alone. The kind of a room decides
    its furniture and layout; colours, light and camera say nothing of it.

    Args:
        size: side of the images in pixels.
        train: number of training images.
        test: number of test images.
        seed: another one gives other rooms.
        root: where drawn rooms are kept; None takes ``$HOWFAR_DATA`` or ``~/.cache/howfar``.
    """
    folder = root if root is not None else files.default_root("rooms")
    parts = [
        kept(folder, size, seed, first, count) for first, count in ((0, train), (TEST_FROM, test))
    ]  # fmt: skip
    return Splits(parts[0], parts[1], SCENES, flip=True)


def outline_of(size: int, seed: int) -> Splits:
    """Return two rooms for training and two for testing with all targets, drawn small and enlarged.

    They stand for a set whose size alone is wanted: the first is of the first kind, the second of the last one, and the
    last class of pixels is in it.
    """
    parts = []
    for first in (0, TEST_FROM):
        found = drawn(min(size, SMALL), seed, range(first, first + 2))
        pixels, ids = _enlarged(found.pop("pixels"), size), found.pop("ids")
        targets = {name: _enlarged(values, size) if values.ndim > 2 else values for name, values in found.items()}
        targets["class_scene"] = torch.tensor([0, len(SCENES) - 1])
        targets["segment_semantic"][1, 0, 0] = len(CLASSES) - 1
        parts.append(Data(pixels, targets, ids))
    return Splits(parts[0], parts[1], SCENES, flip=True)


def _enlarged(values: Tensor, size: int) -> Tensor:
    """Return images or maps at another size, every place with the value of its nearest one."""
    places = torch.arange(size) * values.shape[-1] // size
    return values[..., places[:, None], places].contiguous()


def kept(folder: Path, size: int, seed: int, first: int, count: int) -> Data:
    """Return rooms from the cache, drawn before where it lacks them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    path = folder / f"v{VERSION}-{size}px-seed{seed}-from{first}-{count}.safetensors"
    try:
        found = load_file(path)
    except FileNotFoundError:
        found = drawn(size, seed, range(first, first + count))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole(path) as draft:
                save_file(found, draft)
        except (OSError, SafetensorError) as error:
            raise HowfarError(f"could not write {path} ({error}). Set HOWFAR_DATA to a folder with room.") from None
    except (OSError, SafetensorError) as error:
        raise HowfarError(f"{path} is damaged ({error}). Delete it, and it is drawn again.") from None
    pixels, ids = found.pop("pixels"), found.pop("ids")
    return Data(pixels, found, ids)


def drawn(size: int, seed: int, numbers: range) -> dict[str, Tensor]:
    """Return images, ids and all targets of the rooms with these numbers; many are drawn on all cores."""
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
    yield "class_object", (share[-len(OBJECTS) :] > SEEN).astype(np.uint8)
    yield "segment_semantic", view.segment
    for name in ("depth_euclidean", "depth_zbuffer"):
        yield name, getattr(view, name).astype(np.float16)[None]
    yield "normal", view.normal.astype(np.float16)
    yield "reshading", view.reshading.astype(np.float16)[None]
    yield "edge_occlusion", gaussian_filter(view.edge_occlusion, 0.7).astype(np.float16)[None]
