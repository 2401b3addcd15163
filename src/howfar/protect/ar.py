"""Autoregressive perturbations."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from howfar import arrays, pgd
from howfar.data import Data
from howfar.errors import HowfarError
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, labels_of
from howfar.spec import Number
from howfar.tasks import Task

VERSION = 1
BURN_IN = 4  # rows and columns left out, in which the process still remembers its random start
TRIALS, LOUDEST = 3, 50.0  # a stable filter stays below this norm in every trial
PROPOSALS = 2048  # filters tried at once
MOST_ROUNDS, RELAXED = 500, 0.8  # rounds of proposals; a round that adds nothing lowers the threshold by so much
PIECE = 4096  # images filled at a time

Filters = NDArray[np.float32]  # (classes, channels, 3, 3); the last entry, the pixel itself, is 0


@dataclass(frozen=True)
class Autoregressive(Protector):
    """Autoregressive perturbations, AR (Sandoval-Segura et al., NeurIPS 2022, arXiv:2206.03693).

    Every class and channel has a 3×3 filter b whose entries sum to 1 and whose last one is 0. An image's noise starts
    from N(0, 1) and follows z[i+2, j+2] = Σ b ⊙ z[i:i+3, j:j+3]; the first four rows and columns are dropped, and all
    channels are scaled together to an L2 norm of ``eps``.

    Filters are searched: normal entries, divided by their sum, kept if three trials stay small and if the summed
    positive response to the noise of every filter kept before, and theirs to its noise, is at least ``response``.

    Differs from the released code: the threshold goes down by a fifth whenever 2,048 proposals add nothing; all
    images of a class are filled at once; noise follows the image's id; unstable filters cannot slip through (a release
    of CIFAR-100 had black images); any shape, and budgets scale with it.

    Attributes:
        eps: L2 norm of the noise at 3×32×32, images in [0, 1]; other sizes get the same root mean square.
        response: least response of one class's filters to another's noise (published: 10; for 100 classes 3).
    """

    norm: ClassVar[str] = "L2"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"

    eps: Annotated[Number, Field(gt=0)] = 1.0
    response: Annotated[Number, Field(ge=0)] = 0.0

    @property
    def passes(self) -> float:
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Search the filters, then run the process of every class on its images."""
        seed = arrays.draw_seed(generator)
        labels = labels_of(data, task)
        channels, height, width = data.shape
        count = int(labels.max()) + 1
        least = self.response or (10.0 if count <= 10 else 3.0)
        filters = find_filters(count, channels, seed, least=least)
        norm = self.eps * math.sqrt(channels * height * width / 3072)
        pixels, done = arrays.empty_pixels(data.pixels.shape), 0
        for label in labels.unique().tolist():
            for members in (labels == label).nonzero().flatten().split(PIECE):
                starts = _starts(data.ids[members], seed, data.shape)
                noise = process(starts, filters[label])[:, :, BURN_IN:, BURN_IN:]
                noise *= norm / np.sqrt(np.square(noise).sum((1, 2, 3), keepdims=True))
                pixels[members] = pgd.add_rounded(data.pixels[members], torch.from_numpy(noise))
                done += len(members)
                yield Progress(done, len(data))
        return data.with_pixels(pixels)


def process(starts: NDArray[np.float32], filters: Filters) -> NDArray[np.float32]:
    """Run one process a channel on many images at once.

    Args:
        starts: (n, channels, height, width); only the first two rows and columns matter.
        filters: (channels, 3, 3).
    """
    # Images last: every position is one contiguous vector over all images.
    z = np.ascontiguousarray(starts.transpose(2, 3, 1, 0))
    height, width = z.shape[:2]
    taps = [(a, b, np.ascontiguousarray(filters[:, a, b, None])) for a in range(3) for b in range(3)][:-1]
    term = np.empty_like(z[0, 0])
    for i in range(height - 2):
        for j in range(width - 2):
            here = z[i + 2, j + 2]
            here[:] = 0
            for a, b, tap in taps:
                np.multiply(z[i + a, j + b], tap, out=term)
                here += term
    return np.ascontiguousarray(z.transpose(3, 2, 0, 1))


def find_filters(count: int, channels: int, seed: int, *, least: float) -> Filters:
    """Return stable filters of ``count`` classes that tell each other's noise apart, (count, channels, 3, 3).

    Args:
        count: number of classes.
        channels: filters a class.
        seed: of the proposals.
        least: response of each class's filters to each other's noise, for three channels.

    Raises:
        HowfarError: if no stable filters are found.
    """
    rng = arrays.rng_of(seed, -1)
    least *= math.sqrt(channels / 3)  # the response grows like the root of the number of values
    kept: list[Filters] = []
    noises: list[NDArray[np.float32]] = []
    for _ in range(MOST_ROUNDS):
        stable, before = _stable(rng), len(kept)
        runs = process(rng.standard_normal((1, len(stable), 36, 36), dtype=np.float32), stable)
        for first in range(0, len(stable) - channels + 1, channels):
            candidate = stable[first : first + channels]
            noise = runs[:, first : first + channels, BURN_IN:, BURN_IN:]
            noise = noise / np.linalg.norm(noise)
            far = all(
                min(response(noise, other), response(theirs, candidate)) >= least
                for other, theirs in zip(kept, noises, strict=True)
            )
            if far:
                kept.append(candidate)
                noises.append(noise)
            if len(kept) == count:
                return np.stack(kept)
        if len(kept) == before:
            least *= RELAXED
    raise HowfarError(
        f"only {len(kept)} of {count} processes are stable and {least:g} apart. Take fewer classes or another seed."
    )


def response(noise: NDArray[np.float32], filters: Filters) -> float:
    """Return the summed positive part of what is left where the process of ``filters`` predicts ``noise``, (1, ...)."""
    kernels = torch.from_numpy(filters).clone()
    kernels[:, 2, 2] = -1
    left = torch.nn.functional.conv2d(torch.from_numpy(noise), kernels[:, None], groups=len(filters))
    return float(left.relu().sum())


def _stable(rng: np.random.Generator) -> Filters:
    """Return the filters, of many proposed at once, whose processes stay small."""
    entries = rng.standard_normal((PROPOSALS, 3, 3), dtype=np.float32)
    entries[:, 2, 2] = 0
    entries /= entries.sum((1, 2), keepdims=True)
    with np.errstate(all="ignore"):  # unstable processes overflow, which is how they are found
        trials = process(rng.standard_normal((TRIALS, PROPOSALS, 36, 36), dtype=np.float32), entries)
        loudest = np.sqrt(np.square(trials[:, :, BURN_IN:, BURN_IN:]).sum((2, 3))).max(0)
    stable: Filters = entries[np.isfinite(loudest) & (loudest <= LOUDEST)]
    return stable


def _starts(ids: arrays.Ids, seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return noise that is drawn where the process begins, from each image's id."""
    channels, height, width = shape
    starts = np.zeros((len(ids), channels, height + BURN_IN, width + BURN_IN), dtype=np.float32)
    rows, columns = 2 * (width + BURN_IN), 2 * (height + BURN_IN - 2)
    for index, key in enumerate(ids.tolist()):
        drawn = arrays.rng_of(seed, key).standard_normal((channels, rows + columns), dtype=np.float32)
        starts[index, :, :2] = drawn[:, :rows].reshape(channels, 2, -1)
        starts[index, :, 2:, :2] = drawn[:, rows:].reshape(channels, -1, 2)
    return starts
