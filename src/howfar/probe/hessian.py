"""Hessian-vector products of a network's loss, and the Lanczos iteration."""

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
GRAPH = 6  # memory of a second-order graph, in units of the layers' outputs
BATCHES = 8  # minimum number of batches from which the standard error of an eigenvalue is computed
Floats = NDArray[np.float64]


class Hessian:
    """Products of the Hessian of the mean loss with vectors.

    Args:
        surface: opened.
        weights: the variables; all other weights are frozen.
        kept: keep the graphs of the gradient, so that a product takes a single backward pass.
    """

    def __init__(self, surface: Surface, weights: Mapping[str, nn.Parameter], kept: bool) -> None:
        self.surface, self.weights = surface, list(weights.values())
        self.size = sum(weight.numel() for weight in self.weights)
        self.device = self.weights[0].device
        self._graphs = list(self._slopes()) if kept else None

    def __call__(self, vector: Tensor) -> Tensor:
        """Return H · vector, (parameters,)."""
        total: Tensor = sum(self.parts(vector), torch.zeros_like(vector))
        if not torch.isfinite(total).all():
            raise HowfarError("the loss has no finite second derivatives here. Lower the learning rate, or train less.")
        return total

    def parts(self, vector: Tensor) -> Iterator[Tensor]:
        """Yield the contribution of every batch to H · vector."""
        pieces = vector.split([weight.numel() for weight in self.weights])
        along = [piece.view_as(weight) for piece, weight in zip(pieces, self.weights, strict=True)]
        for slopes in self._graphs or self._slopes():
            products = torch.autograd.grad(slopes, self.weights, along, retain_graph=True, materialize_grads=True)
            yield torch.cat([part.flatten() for part in products])

    def _slopes(self) -> Iterator[Sequence[Tensor]]:
        surface = self.surface
        for images, target in surface.batches():
            loss = surface.task.loss(surface.model(images), target).sum() / surface.count
            yield torch.autograd.grad(loss, self.weights, create_graph=True)


@contextmanager
def hessian(model: nn.Module, task: Task, data: Data, weights: Mapping[str, nn.Parameter]) -> Iterator[Hessian]:
    """Give Hessian-vector products of the eval-mode loss; mode, flags and gradients are restored afterwards."""
    size = max(math.ceil(len(data) / BATCHES), 1)
    surface = Surface(model, task, data, dict(weights), batch_size=size)
    # The fast kernels of attention have no second derivative.
    with surface.opened(fold=False), sdpa_kernel(SDPBackend.MATH):
        for weight in weights.values():
            weight.requires_grad_()
        yield Hessian(surface, weights, kept=GRAPH * _activations(surface) <= MEMORY)


@torch.no_grad()
def _activations(surface: Surface) -> int:
    """Return the size of the outputs of all modules for all images, in bytes."""
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
    """Return diagonal, off-diagonal and basis of the tridiagonal form of H in the Krylov space of ``start``.

    Args:
        product: H.
        start: initial vector, (parameters,).
        iterations: maximum number.
        settled: stop when the residuals of the ``top`` eigenvalues, relative to the largest one, are below it.
        top: number of eigenvalues that must converge.

    Returns:
        (k,), (k − 1,), the orthonormal basis (k, parameters), and the next off-diagonal entry.
    """
    basis = torch.empty(min(iterations, len(start)), len(start), device=start.device)
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    vector, last = start / start.norm(), 0.0
    for k in range(len(basis)):
        basis[k] = vector
        image = product(vector)
        diagonal.append(float(image @ vector))
        for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, section 6.9)
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        last = float(image.norm())
        values, rows = tridiagonal_eigen(diagonal, off_diagonal)
        largest = max(float(np.abs(values).max()), 1e-30)
        chosen = np.abs(values).argsort()[::-1][:top]
        if last <= 1e-6 * largest:  # the Krylov space is invariant
            last = 0.0
            break
        if settled and k + 1 > top and (last * np.abs(rows[-1, chosen]) <= settled * largest).all():
            break
        if k + 1 < len(basis):
            off_diagonal.append(last)
            vector = image / last
    return np.array(diagonal), np.array(off_diagonal[: len(diagonal) - 1]), basis[: len(diagonal)], last


def tridiagonal_eigen(
    diagonal: Sequence[float] | Floats, off_diagonal: Sequence[float] | Floats
) -> tuple[Floats, Floats]:
    """Return eigenvalues and eigenvectors (columns) of a symmetric tridiagonal matrix."""
    from scipy.linalg import eigh_tridiagonal

    values, rows = eigh_tridiagonal(np.asarray(diagonal, float), np.asarray(off_diagonal, float))
    return values, rows
