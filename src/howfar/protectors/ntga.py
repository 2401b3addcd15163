"""Neural tangent generalization attacks."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data, balanced
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, labels_of
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import pgd

VERSION = 1
WEIGHT_VARIANCE, BIAS_VARIANCE = 1.76, 0.18
RIDGE = 1e-4  # of the mean diagonal


@dataclass(frozen=True)
class NeuralTangent(Protector):
    """Neural tangent generalization attacks, NTGA (Yuan and Wu, ICML 2021, PMLR 139 yuan21b).

    An infinitely wide fully connected network with erf activations, trained by gradient descent for a time t, predicts
    f = K_vt K_tt⁻¹ (I − exp(−t K_tt / nC)) Y for validation images, where K is its neural tangent kernel. Blocks of
    training images ascend the loss of these predictions within the L∞ ball.

    Differs from the released code: every step of projected gradient ascent continues from the previous one (there each
    step started from the clean images with the full radius, so that ten steps equaled one; ``one_step`` reproduces
    this); the last block includes all remaining images; validation images come from the training set.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        time: training time t (published: 1 to 512, 64 by default).
        layers: hidden layers of the network (published: 5).
        steps: signed steps (published: 10).
        block: images per block (published: 512).
        validation: number of images whose loss is maximized, class-balanced (published: 10,000).
        one_step: take a single signed step of length eps, the effective behavior of the released code.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("ntga[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "steps kernels of block × (block + validation) images per block"
    published: ClassVar[Settings] = {"block": 512, "validation": 10000}

    eps: Eps = 8 / 255
    time: Annotated[Number, Field(gt=0)] = 64.0
    layers: Annotated[int, Field(ge=1)] = 5
    steps: Annotated[int, Field(ge=1)] = 10
    block: Annotated[int, Field(ge=2)] = 256
    validation: Annotated[int, Field(ge=2)] = 512
    one_step: bool = False

    @property
    def passes(self) -> float:
        """A kernel costs about as much as a pass of a small network."""
        return float(self.steps)

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Perturb one block after the other, in float64; on the CPU if the device has no float64."""
        device = device if arrays.has_float64(device) else torch.device("cpu")
        labels = labels_of(data, task)
        count = max(min(self.validation, len(data)), len(labels.unique()))
        held = balanced(data, count, seed=arrays.draw_seed(generator) % 2**31, target=task.target)
        validation = arrays.to_images(held.pixels, device).flatten(1).double()
        targets = held.targets[task.target].to(device)
        order = torch.randperm(len(data), generator=generator)
        pixels = arrays.empty_pixels(data.pixels.shape)
        blocks = list(order.tensor_split(max(math.ceil(len(data) / self.block), 1)))
        for number in range(draft.enter("craft", pixels=pixels), len(blocks)):
            batch = blocks[number]
            images = arrays.to_images(data.pixels[batch], device)
            wanted = functional.one_hot(labels[batch], task.outputs).to(device)
            noise = self._ascend(images, wanted.double(), validation, targets)
            pixels[batch] = pgd.add_rounded(data.pixels[batch], noise.cpu(), eps=self.eps)
            draft.keep(number + 1)
            yield Progress(number + 1, len(blocks))
        return data.with_pixels(pixels)

    def _ascend(self, images: Images, wanted: Tensor, validation: Tensor, targets: Tensor) -> Images:
        noise = torch.zeros_like(images)
        step_size = self.eps if self.one_step else 2 * self.eps / self.steps
        for _ in range(1 if self.one_step else self.steps):
            moved = (images + noise).requires_grad_()
            predicted = self._predict(moved.flatten(1).double(), wanted, validation)
            loss = functional.cross_entropy(predicted, targets)
            (gradient,) = torch.autograd.grad(-loss, moved)
            noise = pgd.project(pgd.signed_step(noise, gradient, step_size=step_size), images, eps=self.eps)
        return noise

    def _predict(self, train: Tensor, wanted: Tensor, validation: Tensor) -> Tensor:
        """Return the mean prediction of trained networks for validation images, (validation, classes)."""
        own = tangent_kernel(train, train, self.layers)
        across = tangent_kernel(validation, train, self.layers)
        ridge = RIDGE * own.diagonal().mean() * torch.eye(len(own), dtype=own.dtype, device=own.device)
        decay = torch.matrix_exp(-self.time / wanted.numel() * own)
        mean: Tensor = across @ torch.linalg.solve(own + ridge, wanted - decay @ wanted)
        return mean


def tangent_kernel(first: Tensor, second: Tensor, layers: int) -> Tensor:
    """Return the neural tangent kernel of a wide fully connected erf network, (first, second).

    Covariance Σ and kernel Θ pass through the layers (Jacot et al., NeurIPS 2018; Williams, NeurIPS 1997 for erf):
    Σ' = v·E[erf erf] + b and Θ' = Σ' + v·E[erf′ erf′]·Θ, with v and b the variances of weights and biases.

    Args:
        first: (n, values), float64.
        second: (m, values).
        layers: hidden layers.
    """
    values = first.shape[1]
    both = WEIGHT_VARIANCE * first @ second.T / values + BIAS_VARIANCE
    left = WEIGHT_VARIANCE * first.square().sum(1) / values + BIAS_VARIANCE
    right = WEIGHT_VARIANCE * second.square().sum(1) / values + BIAS_VARIANCE
    kernel = both
    for _ in range(layers):
        scale = (1 + 2 * left)[:, None] * (1 + 2 * right)[None, :]
        slopes = 4 / math.pi / (scale - 4 * both.square()).sqrt()
        both = WEIGHT_VARIANCE * 2 / math.pi * (2 * both / scale.sqrt()).asin() + BIAS_VARIANCE
        left, right = (
            WEIGHT_VARIANCE * 2 / math.pi * (2 * one / (1 + 2 * one)).asin() + BIAS_VARIANCE for one in (left, right)
        )
        kernel = both + WEIGHT_VARIANCE * slopes * kernel
    return kernel
