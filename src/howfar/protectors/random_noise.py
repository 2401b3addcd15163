"""Uniform random noise, the baseline for every claim about protection."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Protector, add_noise, class_count, classes_of, patterned
from howfar.spec import Eps
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class RandomNoise(Protector):
    """Uniform random noise, per image or per class (baseline of Huang et al., ICLR 2021, arXiv:2101.04898).

    δ ~ U(−eps, eps) for every pixel. Class-wise, all images of a class share one δ, which is itself a shortcut. With
    per-pixel classes, every pixel takes the δ of its class.

    Attributes:
        granularity: ``sample`` for one noise per image, ``class`` for one per class, which needs labels.
        eps: L∞ radius, images in [0, 1].

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.full((20, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(20) % 2
        >>> noise = protect("random[granularity=class,eps=4/255]", X, y).int() - 128
        >>> int(noise.abs().max()), torch.equal(noise[0], noise[2]), torch.equal(noise[0], noise[1])
        (4, True, False)
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "maps"

    granularity: Literal["sample", "class"] = "sample"
    eps: Eps = 8 / 255

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Draw noise per image id or per class."""
        seed = arrays.draw_seed(generator)

        def draw(key: int) -> Tensor:
            noise = arrays.rng_of(seed, key).uniform(-self.eps, self.eps, data.shape)
            return torch.from_numpy(noise.astype(np.float32))

        if self.granularity == "class":
            labels = classes_of(data, task)
            shared = torch.stack([draw(label) for label in range(class_count(labels))])
            return (yield from add_noise(data, lambda part: patterned(shared, labels[part]), eps=self.eps))

        def noise_of(part: slice) -> Tensor:
            return torch.stack([draw(key) for key in data.ids[part].tolist()])

        return (yield from add_noise(data, noise_of, eps=self.eps))
