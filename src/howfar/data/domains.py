"""Encodings of Taskonomy's domains."""

from collections.abc import Callable, Iterable
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

METERS = 1 / 512  # per depth level
NO_DEPTH = 65535

Pixel = NDArray[Any]


@dataclass(frozen=True)
class Domain:
    """Encoding of one kind of target.

    Attributes:
        decode: from values as read, (height, width) or (height, width, 3), or a vector, to the target, channels first.
        depth: bits per channel: 16 or 8.
        channels: 3, or 1 if only the first one is used.
        smooth: whether values may be averaged when the size changes.
        geometric: whether pixels without a surface have no value, whatever the file holds there.
    """

    decode: Callable[[Pixel], Tensor]
    depth: int = 8
    channels: int = 1
    smooth: bool = False
    geometric: bool = False

    def fits(self, values: Pixel) -> bool:
        """Return whether an image may have this encoding."""
        wide = values.dtype in (np.uint16, np.int32)
        return wide == (self.depth == 16) and (
            values.ndim == 3 and values.shape[2] >= 3 if self.channels == 3 else True
        )


def _depth(values: Pixel) -> Tensor:
    meters = torch.from_numpy(values.astype(np.float32)) * METERS
    meters[torch.from_numpy(values >= NO_DEPTH)] = float("nan")
    meters[meters <= 0] = float("nan")
    return meters.half()[None]


def _normal(values: Pixel) -> Tensor:
    """Convert normals from (right, down, away from the camera) to (right, up, toward the camera)."""
    vectors = torch.from_numpy(values[..., :3].astype(np.float32)).permute(2, 0, 1) * (2 / 255) - 1
    vectors[1:] *= -1
    vectors[:, torch.from_numpy((values[..., :3] == 128).all(-1))] = float("nan")
    return vectors.half()


def _response(values: Pixel) -> Tensor:
    return torch.from_numpy(values.astype(np.float32) / 65535).half()[None]


def _first_channel(values: Pixel) -> Tensor:
    gray = values[..., 0] if values.ndim == 3 else values
    return torch.from_numpy(gray.astype(np.float32) / 255).half()[None]


def _classes(values: Pixel) -> Tensor:
    """Map 0 (uncertain) to void, and number the other classes from 0."""
    return torch.from_numpy(np.where(values == 0, arrays.VOID, values - 1).astype(np.uint8))


def _curvature(values: Pixel) -> Tensor:
    return (torch.from_numpy(values[..., :2].astype(np.float32)).permute(2, 0, 1) / 127 - 1).half()


def _scene(values: Pixel) -> Tensor:
    return torch.tensor(int(values.argmax()))


def _objects(values: Pixel) -> Tensor:
    """Convert ImageNet logits to probabilities."""
    return torch.from_numpy(values.astype(np.float32)).softmax(0)


DOMAINS: dict[str, Domain] = {
    "depth_euclidean": Domain(_depth, 16, geometric=True),
    "depth_zbuffer": Domain(_depth, 16, geometric=True),
    "normal": Domain(_normal, channels=3, geometric=True),
    "principal_curvature": Domain(_curvature, channels=3, geometric=True),
    "reshading": Domain(_first_channel, smooth=True, geometric=True),
    "edge_texture": Domain(_response, 16, smooth=True),
    "edge_occlusion": Domain(_response, 16, smooth=True, geometric=True),
    "keypoints2d": Domain(_response, 16, smooth=True),
    "keypoints3d": Domain(_response, 16, smooth=True, geometric=True),
    "segment_unsup2d": Domain(_first_channel),
    "segment_unsup25d": Domain(_first_channel, geometric=True),
    "segment_semantic": Domain(_classes),
    "class_scene": Domain(_scene),
    "class_object": Domain(_objects),
}
MASK = "mask_valid"  # 0 where there is no surface
DEPTHS = ("depth_euclidean", "depth_zbuffer")


def _vector(path: Path) -> Pixel:
    try:
        vector: Pixel = np.load(path, allow_pickle=False)
    except Exception as error:  # parsers fail in many ways
        raise HowfarError(f"{path} cannot be read ({error}). Repair or remove it.") from None
    if not isinstance(vector, np.ndarray) or vector.ndim != 1 or not np.issubdtype(vector.dtype, np.floating):
        raise HowfarError(f"{path} holds no vector of numbers. Repair or remove it.")
    return vector


def decoded(name: str, path: Path, size: int, surface: Tensor | None = None) -> Tensor:
    """Return one decoded file at the given size.

    Args:
        name: of the domain, or ``rgb``.
        path: of the file.
        size: side of the result; the center square is cropped and resized.
        surface: mask of pixels with a surface; see ``surface_of``.

    Raises:
        HowfarError: if the file cannot be read or does not have the encoding of its domain.
    """
    domain = DOMAINS.get(name)
    if path.suffix == ".npy":
        return (domain or DOMAINS["class_scene"]).decode(_vector(path))
    if name == "rgb":
        shrunk = _square(read_picture(path).convert("RGB")).resize((size, size), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(shrunk, np.uint8).transpose(2, 0, 1).copy())
    assert domain is not None  # noqa: S101 - `_wanted` has checked
    found = domain.decode(_pixels(name, path, domain))
    if domain.geometric and surface is not None:
        found[:, ~_resized(surface, tuple(found.shape[1:]))] = float("nan")
    return _shrunk(found, size, smooth=domain.smooth)


def surface_of(paths: Iterable[Path]) -> Tensor | None:
    """Return the mask of pixels with a surface, (side, side): the file mask is not 0 and no depth is 65535.

    Args:
        paths: mask and depth files of the view, as far as they exist.

    Raises:
        HowfarError: if a file cannot be read.
    """
    known: Tensor | None = None
    for path in paths:
        name = next((name for name in DEPTHS if path.stem.endswith(name)), MASK)
        values = _pixels(name, path, DOMAINS.get(name, Domain(_first_channel)))
        first = values if values.ndim == 2 else values[..., 0]
        here = torch.from_numpy(first < NO_DEPTH if name in DEPTHS else first > 0)
        known = here if known is None else known & _resized(here, tuple(known.shape))
    return known


def _resized(known: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a mask resized to another map of the view by nearest neighbors."""
    return known if known.shape == size else functional.interpolate(known[None, None].float(), size)[0, 0] > 0.5


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _pixels(name: str, path: Path, domain: Domain) -> Pixel:
    values: Pixel = np.asarray(_square(read_picture(path)))
    if not domain.fits(values):
        raise HowfarError(
            f"{path} is not a valid {name} image: its pixels are {values.dtype} of shape {values.shape}. "
            "Repair or remove it."
        )
    return values


def _shrunk(values: Tensor, size: int, *, smooth: bool) -> Tensor:
    """Return a map at another size: averaged, or by nearest neighbors where values cannot be averaged.

    A mean is over the pixels that have a value, and is missing if fewer than half of them do.
    """
    one = values[None, None] if values.ndim == 2 else values[None]
    if smooth and size < values.shape[-1]:
        known = ~one.isnan()
        total = functional.adaptive_avg_pool2d(one.float().nan_to_num(0.0), size)
        share = functional.adaptive_avg_pool2d(known.float(), size)
        small = torch.where(share >= 0.5, total / share, float("nan")).to(values.dtype)
    else:
        small = functional.interpolate(one.float(), (size, size), mode="nearest-exact").to(values.dtype)
    return small[0, 0] if values.ndim == 2 else small[0]
