"""Products with the Hessian of a network's loss, and Lanczos' iteration on them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from howfar.data import Data
from howfar.errors import HowfarError
from howfar.probe.surface import Surface
from howfar.tasks import Task

MEMORY = 2**31  # bytes for graphs that are kept between products
GRAPH = 6  # a kept graph of second order takes about that many times the layers' outputs
BATCHES = 8  # the standard error of an eigenvalue comes from that many parts of the images, at least
Floats = NDArray[np.float64]


class Hessian:
    """Products of the Hessian of the mean loss with vectors.

    Args:
        surface: opened.
        weights: that may move; all others are frozen.
        kept: keep the graphs of the first derivative, so that a product costs one backward pass more and no other.
    """

    def __init__(self, surface: Surface, weights: Mapping[str, nn.Parameter], kept: bool) -> None:
        self.surface, self.weights = surface, list(weights.values())
        self.size = sum(weight.numel() for weight in self.weights)
        self.device = self.weights[0].device
        self._graphs = list(self._slopes()) if kept else None

    def __call__(self, vector: Tensor) -> Tensor:
        """Return H·vector, (parameters,)."""
        total: Tensor = sum(self.parts(vector), torch.zeros_like(vector))
        if not torch.isfinite(total).all():
            raise HowfarError("the loss has no finite second derivatives here. Lower the learning rate, or train less.")
        return total

    def parts(self, vector: Tensor) -> Iterator[Tensor]:
        """Yield the share of every batch in H·vector."""
        pieces = vector.split([weight.numel() for weight in self.weights])
        along = [piece.view_as(weight) for piece, weight in zip(pieces, self.weights, strict=True)]
        for slopes in self._graphs or self._slopes():
            turned = torch.autograd.grad(slopes, self.weights, along, retain_graph=True, materialize_grads=True)
            yield torch.cat([part.flatten() for part in turned])

    def _slopes(self) -> Iterator[Sequence[Tensor]]:
        surface = self.surface
        for images, target in surface.batches():
            loss = surface.task.loss(surface.model(images), target).sum() / surface.count
            yield torch.autograd.grad(loss, self.weights, create_graph=True)


@contextmanager
def hessian(model: nn.Module, task: Task, data: Data, weights: Mapping[str, nn.Parameter]) -> Iterator[Hessian]:
    """Give products with the Hessian of the eval-mode loss; mode, flags and gradients are put back."""
    size = max(math.ceil(len(data) / BATCHES), 1)
    surface = Surface(model, task, data, dict(weights), batch_size=size)
    # The fast kernels of attention have no second derivative.
    with surface.opened(fold=False), sdpa_kernel(SDPBackend.MATH):
        for weight in weights.values():
            weight.requires_grad_()
        yield Hessian(surface, weights, kept=GRAPH * _activations(surface) <= MEMORY)


@torch.no_grad()
def _activations(surface: Surface) -> int:
    """Return the bytes of all modules' outputs, for all images."""
    sizes: list[int] = []

    def note(module: nn.Module, args: object, output: object) -> None:
        sizes.extend(leaf.nbytes for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))

    images, _ = next(surface.batches())
    with ExitStack() as stack:
        for module in surface.model.modules():
            if not list(module.children()):
                stack.callback(module.register_forward_hook(note).remove)
        surface.model(images[:1])
    return sum(sizes) * surface.count


def lanczos(
    product: Hessian, start: Tensor, iterations: int, *, settled: float = 0.0, top: int = 1
) -> tuple[Floats, Floats, Tensor, float]:
    """Return diagonal, off-diagonal and basis of the tridiagonal form of H that grows from a start.

    Args:
        product: H.
        start: (parameters,).
        iterations: at most.
        settled: stop when the residuals of the ``top`` eigenvalues are below that share of the largest.
        top: eigenvalues that count.

    Returns:
        (k,), (k − 1,), the orthonormal basis (k, parameters), and the next off-diagonal entry.
    """
    basis = torch.empty(min(iterations, len(start)), len(start), device=start.device)
    diagonal: list[float] = []
    beside: list[float] = []
    vector, last = start / start.norm(), 0.0
    for k in range(len(basis)):
        basis[k] = vector
        turned = product(vector)
        diagonal.append(float(turned @ vector))
        for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, section 6.9)
            turned = turned - basis[: k + 1].T @ (basis[: k + 1] @ turned)
        last = float(turned.norm())
        values, rows = tridiagonal_eigen(diagonal, beside)
        largest = max(float(np.abs(values).max()), 1e-30)
        chosen = np.abs(values).argsort()[::-1][:top]
        if last <= 1e-6 * largest:  # the start lies in a space that H maps to itself
            last = 0.0
            break
        if settled and k + 1 > top and (last * np.abs(rows[-1, chosen]) <= settled * largest).all():
            break
        if k + 1 < len(basis):
            beside.append(last)
            vector = turned / last
    return np.array(diagonal), np.array(beside[: len(diagonal) - 1]), basis[: len(diagonal)], last


def tridiagonal_eigen(diagonal: Sequence[float] | Floats, beside: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Return eigenvalues and eigenvectors (columns) of a symmetric tridiagonal matrix."""
    from scipy.linalg import eigh_tridiagonal

    values, rows = eigh_tridiagonal(np.asarray(diagonal, float), np.asarray(beside, float))
    return values, rows
