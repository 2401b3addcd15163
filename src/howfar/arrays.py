"""Shared array utilities: shape types, seeded generators, digests, large arrays."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Generator, Tensor

from howfar.errors import UsageError

Pixels = UInt8[Tensor, "n channels height width"]
Images = Float[Tensor, "n channels height width"]  # in [0, 1]
NetworkInputs = Float[Tensor, "n ..."]  # images, or what a network of one's own takes
Pictures = Shaped[Tensor, "n channels height width"]  # either
Targets = Any  # a tensor (n, ...), or several of them by name
Ids = Int64[Tensor, "n"]
PerExample = Float[Tensor, "n"]

Weighting = Literal["uniform", "uncertainty", "gradients"]
UNCERTAINTY = "uncertainty"  # name of the network output that holds learned loss weights
VOID = 255  # ignore index of class maps; NaN in floating-point maps


class PerPixel(int):
    """Number of outputs per pixel, whereas a plain ``int`` is the number of outputs per image.

    Attributes:
        skips: whether the head has skip connections to earlier stages of the network.
    """

    skips: bool

    def __new__(cls, count: int, *, skips: bool = True) -> "PerPixel":
        """Return ``count`` with its attribute."""
        made = super().__new__(cls, count)
        made.skips = skips
        return made


class Heads(dict[str, int]):
    """Numbers of outputs of several heads on one network, by name; each may be ``PerPixel``.

    Attributes:
        weighting: how their losses are balanced; see ``howfar.models.heads``.
    """

    def __init__(self, outputs: Mapping[str, int], weighting: Weighting = "uniform") -> None:
        """Set the outputs by name."""
        super().__init__(outputs)
        self.weighting = weighting


Outputs = int | Heads

SINGLE_PRECISION = frozenset({"mps"})  # device types without float64

IN_MEMORY_BYTES = 2**27  # larger pixel arrays are memory-mapped from an unlinked temporary file


def missing_value(target: Tensor) -> float | int:
    """Return the value that marks a missing target in a map of shape (n, ..., height, width)."""
    if target.ndim == 3:
        return VOID
    return float("nan") if target.is_floating_point() else 0


def cores() -> int:
    """Return the number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finished(work: Iterator[Any]) -> Any:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def seeded(seed: int, *purpose: str | int) -> Generator:
    """Return a CPU generator for one purpose, independent of the generators of all other purposes.

    Args:
        seed: the experiment's seed.
        purpose: names the use of the numbers, e.g. ``"batches", epoch``.

    Raises:
        UsageError: for anything but a whole number from 0.

    Example:
        >>> from howfar.arrays import seeded
        >>> torch.equal(torch.rand(2, generator=seeded(0, "noise")), torch.rand(2, generator=seeded(0, "noise")))
        True
    """
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed = {seed!r} is not a seed. Use a whole number from 0.")
    text = json.dumps([seed, *purpose])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return Generator().manual_seed(number)


def draw_seed(generator: Generator) -> int:
    """Draw a 63-bit seed for another source of randomness from ``generator``."""
    return int(torch.randint(2**63 - 1, (1,), generator=generator))


def rng_of(seed: int, identity: int) -> np.random.Generator:
    """Return the random generator of one image: it depends on the image's id, never on its index."""
    counter = np.array([0, 0, 0, identity % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def digest(*tensors: Tensor) -> str:
    """Return the SHA-256 of dtypes, shapes and bytes of ``tensors``."""
    sha = hashlib.sha256()
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous()
        sha.update(f"{array.dtype}{tuple(array.shape)}".encode())
        for piece in array.split(4096) if array.ndim else [array]:
            sha.update(piece.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def empty_pixels(shape: Sequence[int]) -> Pixels:
    """Return an uninitialized uint8 tensor; above ``IN_MEMORY_BYTES`` it is backed by a temporary file."""
    if int(np.prod(shape)) <= IN_MEMORY_BYTES:
        return torch.empty(tuple(shape), dtype=torch.uint8)
    with tempfile.TemporaryFile() as file:
        return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="w+", shape=tuple(shape)))


def chunks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def unit_images(pixels: Tensor) -> Images:
    """Return 8-bit pixels as float32 in [0, 1]."""
    return pixels.float().div_(255)


def at(target: Any, index: Any, device: torch.device | None = None) -> Any:
    """Index a target and move the result to ``device``; several of them, by name or in a row, one by one."""
    if isinstance(target, dict):
        return {name: at(values, index, device) for name, values in target.items()}
    if isinstance(target, tuple | list):  # outputs of somebody's own network
        return tuple(at(values, index, device) for values in target)
    some = target[index.to(target.device) if isinstance(index, Tensor) else index]
    return some if device is None else some.to(device, non_blocking=True)


def has_float64(device: torch.device) -> bool:
    """Return whether a device has double precision."""
    return device.type not in SINGLE_PRECISION


def float64(values: Tensor) -> Tensor:
    """Return values in double precision: on their device, or on the CPU where the device has none."""
    return (values if has_float64(values.device) else values.cpu()).double()


def to_images(pixels: Tensor, device: torch.device) -> NetworkInputs:
    """Return pixels as network inputs on ``device``: bytes as float32 in [0, 1], channels last; others as they are."""
    if pixels.is_floating_point():
        return pixels.to(device)
    return unit_images(pixels.to(device)).contiguous(memory_format=torch.channels_last)
