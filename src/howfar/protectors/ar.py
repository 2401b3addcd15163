"""Autoregressive perturbations."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from howfar import arrays
from howfar.data import Data
from howfar.errors import HowfarError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, labels_of
from howfar.spec import Number
from howfar.tasks import Task
from howfar.training import pgd

VERSION = 2
BURN_IN = 4  # dropped rows and columns, which still depend on the random start
TRIALS, LOUDEST = 3, 50.0  # a stable process stays below this norm in every trial, over all channels
SIDE = 32  # of the noise on which filters are compared, for any image size
PROPOSALS = 2048  # single-channel filters proposed per round; about a quarter of them are stable
MIXES = 20  # recombinations of a round's stable filters: about 3,000 processes of three channels
PATIENCE, RELAXED = 5, 0.9  # rounds without a new process before the bound is multiplied by this factor
MOST_ROUNDS = 500
PIECE = 4096  # images filled at a time

Filters = NDArray[np.float32]  # (classes, channels, 3, 3); the last entry, the pixel itself, is 0


@dataclass(frozen=True)
class Autoregressive(Protector):
    """Autoregressive perturbations, AR (Sandoval-Segura et al., NeurIPS 2022, arXiv:2206.03693).

    Every class and channel has a 3×3 filter b whose entries sum to 1 and whose last one is 0. An image's noise starts
    from N(0, 1) and follows z[i+2, j+2] = Σ b ⊙ z[i:i+3, j:j+3]; the first four rows and columns are dropped, and all
    channels are scaled together to an L2 norm of ``eps``.

    Filters are searched as released: normal entries divided by their sum. A process is kept if three trials stay small
    and if the response of the filters of every earlier process to its noise is at least ``response``: one convolution
    over all channels, then the sum of the positive part. The smallest response is recorded.

    Differs from the released code: single-channel filters are recombined, which examines more processes in less time.
    After five rounds without a new process the bound is reduced by a tenth (with three channels, five rounds are 16,000
    processes, about as many stable ones as in a million draws of the released code). All images of a class are
    processed at once. Noise depends on the image id. Unstable filters are always rejected (a release of CIFAR-100 had
    black images). Any image shape; the norm scales with it.

    Attributes:
        eps: L2 norm of the noise at 3×32×32, images in [0, 1]; other sizes get the same root mean square.
        response: initial lower bound on the response of one class's filters to another's noise of norm 1 at 32×32; 0
            takes 10 for up to ten classes, 3 for more, as published.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.full((20, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(20) % 2
        >>> noise = protect("ar", X, y).int() - 128
        >>> torch.equal(noise[0], noise[2])  # one filter per class, but another start for each image
        False
    """

    norm: ClassVar[str] = "L2"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"

    eps: Annotated[Number, Field(gt=0)] = 1.0
    response: Annotated[Number, Field(ge=0)] = 0.0

    @property
    def passes(self) -> float:
        """No gradients."""
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
        yield Progress(0, len(data), "searching for filters")
        filters, reached = find_filters(count, channels, seed, least=least)
        draft.notes |= {"response asked for": least, **({"response reached": reached} if count > 1 else {})}
        norm = self.eps * math.sqrt(channels * height * width / 3072)
        pixels, done = arrays.empty_pixels(data.pixels.shape), 0
        for label in labels.unique().tolist():
            for members in (labels == label).nonzero().flatten().split(PIECE):
                starts = _starts(data.ids[members], seed, data.shape)
                noise = process(starts, filters[label])[:, :, BURN_IN:, BURN_IN:]
                noise *= norm / np.sqrt(np.square(noise).sum((1, 2, 3), keepdims=True))
                pixels[members] = pgd.add_rounded(data.pixels[members], torch.from_numpy(noise))
                done += len(members)
                yield Progress(done, len(data), f"response {reached:.1f}, {least:g} requested")
        return data.with_pixels(pixels)


def process(starts: NDArray[np.float32], filters: Filters) -> NDArray[np.float32]:
    """Run the processes of all channels on many images at once.

    Args:
        starts: (n, channels, height, width); only the first two rows and columns are used.
        filters: (channels, 3, 3).
    """
    # Images last, so that every position is a contiguous vector over all images.
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


def find_filters(count: int, channels: int, seed: int, *, least: float) -> tuple[Filters, float]:
    """Return stable filters of ``count`` classes that separate each other's noise, and their smallest response.

    Args:
        count: number of classes.
        channels: number of channels.
        seed: of the proposals.
        least: initial lower bound on the response of a class's filters to another's noise; see ``responses``.

    Returns:
        Filters, (count, channels, 3, 3), and the smallest response of a class's filters to the noise of any class found
        later: below ``least`` if the bound was relaxed, infinite for a single class.

    Raises:
        HowfarError: if no stable filters are found.
    """
    rng = arrays.rng_of(seed, -1)
    kept = np.empty((0, channels, 3, 3), np.float32)
    reached, fruitless = math.inf, 0
    for _ in range(MOST_ROUNDS):
        filters, noise = _processes(rng, channels)
        lowest, before = responses(noise, kept).min(1, initial=math.inf), len(kept)
        while len(kept) < count and (lowest >= least).any():
            first = int((lowest >= least).argmax())  # the same order as in a sequential search
            reached = min(reached, float(lowest[first]))
            kept = np.concatenate([kept, filters[first : first + 1]])
            lowest = np.minimum(lowest, responses(noise, kept[-1:])[:, 0])
        if len(kept) == count:
            return kept, reached
        fruitless = 0 if len(kept) > before else fruitless + 1
        if fruitless == PATIENCE:
            least, fruitless = least * RELAXED, 0
    raise HowfarError(
        f"only {len(kept)} of {count} processes are stable with a response of {least:g}. Use fewer classes or another "
        "seed."
    )


def responses(noise: NDArray[np.float32], filters: Filters) -> NDArray[np.float32]:
    """Return the responses of filters to noise, (noises, processes); almost 0 for noise of the same process.

    Every process predicts each pixel from its neighbors. The residuals are summed over channels, and their positive
    part is summed over pixels.

    Args:
        noise: (noises, channels, height, width).
        filters: (processes, channels, 3, 3).
    """
    if not len(filters):
        return np.empty((len(noise), 0), np.float32)
    kernels = torch.from_numpy(filters).clone()
    kernels[:, :, 2, 2] = -1
    pieces = [
        torch.nn.functional.conv2d(torch.from_numpy(noise[part]), kernels).relu().sum((2, 3))
        for part in arrays.chunks(len(noise), 256)
    ]
    found: NDArray[np.float32] = torch.cat([torch.zeros(0, len(filters)), *pieces]).numpy()
    return found


def _processes(rng: np.random.Generator, channels: int) -> tuple[Filters, NDArray[np.float32]]:
    """Return stable processes, (n, channels, 3, 3), and their noise of norm 1, (n, channels, 32, 32)."""
    filters, trials = _stable(rng)
    count = len(filters) // channels
    norms = np.square(trials).sum((2, 3))
    mixes = [
        rng.permutation(len(filters))[: count * channels].reshape(count, channels)
        for _ in range(MIXES if channels > 1 else 1)
    ]
    index = np.concatenate(mixes)
    lengths = np.sqrt(norms[:, index].sum(2))
    index, lengths = index[(lengths <= LOUDEST).all(0)], lengths[-1, (lengths <= LOUDEST).all(0)]
    return filters[index], trials[-1][index] / lengths[:, None, None, None]


def _stable(rng: np.random.Generator) -> tuple[Filters, NDArray[np.float32]]:
    """Return the stable ones of random single-channel filters, (n, 3, 3), and the noise of their trials."""
    entries = rng.standard_normal((PROPOSALS, 3, 3), dtype=np.float32)
    entries[:, 2, 2] = 0
    entries /= entries.sum((1, 2), keepdims=True)
    shape = (TRIALS, PROPOSALS, SIDE + BURN_IN, SIDE + BURN_IN)
    with np.errstate(all="ignore"):  # unstable processes overflow
        trials = process(rng.standard_normal(shape, dtype=np.float32), entries)[:, :, BURN_IN:, BURN_IN:]
        loudest = np.sqrt(np.square(trials).sum((2, 3))).max(0)
    small = np.isfinite(loudest) & (loudest <= LOUDEST)
    return entries[small], np.ascontiguousarray(trials[:, small])


def _starts(ids: arrays.Ids, seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return the initial rows and columns of every image's noise, drawn by image id."""
    channels, height, width = shape
    starts = np.zeros((len(ids), channels, height + BURN_IN, width + BURN_IN), dtype=np.float32)
    rows, columns = 2 * (width + BURN_IN), 2 * (height + BURN_IN - 2)
    for index, key in enumerate(ids.tolist()):
        drawn = arrays.rng_of(seed, key).standard_normal((channels, rows + columns), dtype=np.float32)
        starts[index, :, :2] = drawn[:, :rows].reshape(channels, 2, -1)
        starts[index, :, 2:, :2] = drawn[:, rows:].reshape(channels, -1, 2)
    return starts
