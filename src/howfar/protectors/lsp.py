"""Linearly separable perturbations."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, add_noise, class_count, classes_of, patterned
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1
SEPARATION = 10.0  # class_sep of the published code: distance of a class center from 0 along every axis


@dataclass(frozen=True)
class LinearlySeparable(Protector):
    """Linearly separable perturbations, LSP (Yu et al., KDD 2022, arXiv:2111.00898).

    Each class is a Gaussian cluster around a vertex of a hypercube: a vector z = N(0, I)·A + C with one value per
    patch and channel, A ~ U(−1, 1), C ∈ {−10, 10}. The values fill square patches, and every image's noise is
    scaled to an L2 norm of eps·√(number of values in the image). With per-pixel classes, an image has one vector per
    class, and every pixel takes the patch of its class.

    Differs from the released code: rounds instead of truncating to 8 bits; noise depends on the image id; any number of
    images per class.

    Attributes:
        eps: root mean square of an image's noise, images in [0, 1]: its L2 norm divided by the root of the number of
            values. The published 6/255 is this eps, an L2 norm of 1.304 at 3×32×32. It is no L∞ radius: single values
            exceed it (15/255 on CIFAR-10), and the option ``--eps`` does not set it.
        patch: side of a patch in pixels; 0 takes a quarter of the shorter side (8 at 32×32, as published).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.full((20, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(20) % 2
        >>> noise = protect("lsp[eps=8/255]", X, y).float() - 128
        >>> round(float(noise.square().mean().sqrt()))  # root mean square, 1/255
        8
    """

    norm: ClassVar[str] = "L2"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "maps"

    eps: Eps = 6 / 255
    patch: Annotated[int, Field(ge=0)] = 0

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Draw a cluster per class, and a vector per image id."""
        seed = arrays.draw_seed(generator)
        channels, height, width = data.shape
        side = self.patch or max(min(height, width) // 4, 1)
        grid = (channels, math.ceil(height / side), math.ceil(width / side))
        labels = classes_of(data, task)
        count = class_count(labels)
        centers, mixings = _clusters(count, math.prod(grid), seed)
        norm = self.eps * math.sqrt(channels * height * width)

        def patches(keys: list[int], classes: list[int]) -> Tensor:
            vectors = [
                arrays.rng_of(seed, key).standard_normal(len(centers[0])) @ mixings[label] + centers[label]
                for key, label in zip(keys, classes, strict=True)
            ]
            small = torch.from_numpy(np.stack(vectors)).float().view(-1, *grid)
            return small.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :height, :width]

        def noise_of(part: slice) -> Tensor:
            keys = data.ids[part].tolist()
            if labels.ndim == 1:
                noise = patches(keys, labels[part].tolist())
            else:
                each = [patches([key] * count, list(range(count))) for key in keys]
                noise = torch.cat(
                    [patterned(some, own[None]) for some, own in zip(each, labels[part], strict=True)]
                )  # fmt: skip
            lengths = noise.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            scaled: Tensor = noise * (norm / lengths)
            return scaled

        return (yield from add_noise(data, noise_of))


def _clusters(count: int, size: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centers (count, size), distinct vertices of a hypercube, and mixing matrices (count, size, size)."""
    if size < 63 and count > 2**size:
        raise UsageError(
            f"{count} classes need more than {size} patch values. Use a smaller patch, as in lsp[patch=2]."
        )
    rng = arrays.rng_of(seed, -1)
    vertices: dict[bytes, NDArray[np.float64]] = {}
    while len(vertices) < count:
        vertex = rng.choice([-SEPARATION, SEPARATION], size)
        vertices.setdefault(vertex.tobytes(), vertex)
    return np.stack(list(vertices.values())), rng.uniform(-1, 1, (count, size, size))
