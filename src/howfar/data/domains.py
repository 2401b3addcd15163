"""How the files of each domain of Taskonomy are encoded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data.pictures import read_picture
from howfar.errors import HowfarError

METRES = 1 / 512  # of a step of depth
NO_DEPTH = 65535

Pixel = NDArray[Any]


@dataclass(frozen=True)
class Domain:
    """How one kind of target lies on disk.

    Attributes:
        decode: values as read, (height, width) or (height, width, 3), or a vector -> the target, channels first.
        depth: bits of a pixel: 16, or 8.
        channels: 3, or 1 where only the first of them counts.
        smooth: whether places between two pixels may be averaged when the size changes.
    """

    decode: Callable[[Pixel], Tensor]
    depth: int = 8
    channels: int = 1
    smooth: bool = False

    def fits(self, values: Pixel) -> bool:
        """Return whether an image can be one of these."""
        wide = values.dtype in (np.uint16, np.int32)
        return wide == (self.depth == 16) and (
            values.ndim == 3 and values.shape[2] >= 3 if self.channels == 3 else True
        )


def _depth(values: Pixel) -> Tensor:
    metres = torch.from_numpy(values.astype(np.float32)) * METRES
    metres[torch.from_numpy(values >= NO_DEPTH)] = float("nan")
    metres[metres <= 0] = float("nan")
    return metres.half()[None]


def _normal(values: Pixel) -> Tensor:
    vectors = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1) * (2 / 255) - 1
    vectors[:, torch.from_numpy((values == 128).all(-1))] = float("nan")
    return vectors.half()


def _response(values: Pixel) -> Tensor:
    return torch.from_numpy(values.astype(np.float32) / 65535).half()[None]


def _first_channel(values: Pixel) -> Tensor:
    gray = values[..., 0] if values.ndim == 3 else values
    return torch.from_numpy(gray.astype(np.float32) / 255).half()[None]


def _classes(values: Pixel) -> Tensor:
    """0 is uncertain and becomes void; the others count from 0."""
    return torch.from_numpy(np.where(values == 0, arrays.VOID, values - 1).astype(np.uint8))


def _curvature(values: Pixel) -> Tensor:
    return (torch.from_numpy(values[..., :2].astype(np.float32)).permute(2, 0, 1) / 127 - 1).half()


def _scene(values: Pixel) -> Tensor:
    return torch.tensor(int(values.argmax()))


def _objects(values: Pixel) -> Tensor:
    """ImageNet's logits become probabilities."""
    return torch.from_numpy(values.astype(np.float32)).softmax(0)


DOMAINS: dict[str, Domain] = {
    "depth_euclidean": Domain(_depth, 16),
    "depth_zbuffer": Domain(_depth, 16),
    "normal": Domain(_normal, channels=3),
    "principal_curvature": Domain(_curvature, channels=3),
    "reshading": Domain(_first_channel, smooth=True),
    "edge_texture": Domain(_response, 16, smooth=True),
    "edge_occlusion": Domain(_response, 16, smooth=True),
    "keypoints2d": Domain(_response, 16, smooth=True),
    "keypoints3d": Domain(_response, 16, smooth=True),
    "segment_unsup2d": Domain(_first_channel),
    "segment_unsup25d": Domain(_first_channel),
    "segment_semantic": Domain(_classes),
    "class_scene": Domain(_scene),
    "class_object": Domain(_objects),
}
View = tuple[str, int, int]  # building, point, view


def _vector(path: Path) -> Pixel:
    try:
        vector: Pixel = np.load(path, allow_pickle=False)
    except Exception as error:  # parsers fail in many ways
        raise HowfarError(f"{path} cannot be read ({error}). Repair or remove it.") from None
    if not isinstance(vector, np.ndarray) or vector.ndim != 1 or not np.issubdtype(vector.dtype, np.floating):
        raise HowfarError(f"{path} holds no vector of numbers. Repair or remove it.")
    return vector


def decoded(name: str, path: Path, size: int) -> Tensor:
    """Return one file at the wanted size, as its domain says."""
    domain = DOMAINS.get(name)
    if path.suffix == ".npy":
        return (domain or DOMAINS["class_scene"]).decode(_vector(path))
    image = read_picture(path)
    image = image.convert("RGB") if name == "rgb" else image
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    if name == "rgb":
        shrunk = square.resize((size, size), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(shrunk, np.uint8).transpose(2, 0, 1).copy())
    assert domain is not None  # noqa: S101 - `_wanted` has checked
    values: Pixel = np.asarray(square)
    if not domain.fits(values):
        raise HowfarError(
            f"{path} is no {name}: its pixels are {values.dtype} of shape {values.shape}. Repair or remove it."
        )
    return _shrunk(domain.decode(values), size, smooth=domain.smooth)


def _shrunk(values: Tensor, size: int, *, smooth: bool) -> Tensor:
    """Return a map at another size: averaged, or its nearest pixel where a mean of two answers is none."""
    one = values[None, None] if values.ndim == 2 else values[None]
    if smooth and size < values.shape[-1]:
        small = functional.adaptive_avg_pool2d(one.float(), size).to(values.dtype)
    else:
        small = functional.interpolate(one.float(), (size, size), mode="nearest-exact").to(values.dtype)
    return small[0, 0] if values.ndim == 2 else small[0]
