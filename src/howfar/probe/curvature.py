"""The Hessian of the loss: leading eigenvalues, trace and spectral density, of a layer or of the whole network."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from howfar.data import Data
from howfar.errors import UsageError
from howfar.models.build import PAPER, Kind, weights_of
from howfar.probe.hessian import Hessian, hessian, lanczos, tridiagonal_eigen
from howfar.probe.precision import precise
from howfar.probe.second_order import signs
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained

POINTS = 128  # of a density
WIDTH = 0.01  # of the kernel that smooths a density, in spans of the spectrum
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curvature:
    """The Hessian H of the mean loss for some weights, all others frozen.

    Attributes:
        eigenvalues: those of largest magnitude, in descending order, nats per squared unit.
        standard_errors: of each, over images.
        vectors: unit eigenvectors, (eigenvalues, parameters), in the order of the weights.
        residuals: ‖Hv − λv‖ of each.
        converged: whether every residual is below the tolerance.
        trace: of H, nats per squared unit.
        trace_error: its standard error over the random signs.
        places: eigenvalues at which the density is given, nats per squared unit.
        density: smoothed spectral density; integrates to 1.
        density_error: its standard error over the random starts.
        parameters: number of weights.
    """

    eigenvalues: tuple[float, ...]
    standard_errors: tuple[float, ...]
    vectors: Tensor
    residuals: tuple[float, ...]
    converged: bool
    trace: float
    trace_error: float
    places: tuple[float, ...]
    density: tuple[float, ...]
    density_error: tuple[float, ...]
    parameters: int

    def __repr__(self) -> str:
        """Return eigenvalues and trace with their standard errors; vectors and density are left out."""
        pairs = zip(self.eigenvalues, self.standard_errors, strict=True)
        found = ", ".join(f"{value:.3g} ± {error:.2g}" for value, error in pairs)
        settled = "converged" if self.converged else "not converged"
        return (
            f"Curvature(eigenvalues {found} ({settled}), trace {self.trace:.3g} ± {self.trace_error:.2g}, "
            f"standard errors; n = {self.parameters} parameters)"
        )


@explained
@precise
def curvature(
    model: nn.Module,
    data: Data | Pair,
    task: Task | Criterion | None = None,
    *,
    layers: Collection[str] | None = None,
    top: int = 3,
    iterations: int = 60,
    draws: int = 6,
    tolerance: float = 0.01,
    include: Collection[Kind] = PAPER,
    generator: Generator | None = None,
) -> dict[str, Curvature]:
    """Return the curvature of the eval-mode loss: one entry per layer, and ``""`` for all layers together.

    Eigenvalues come from the Lanczos iteration with full orthogonalization; the trace from Hutchinson's estimator, the
    mean over random signs z of zᵀHz; the density from stochastic Lanczos quadrature over the same z (Ghorbani et al.,
    An Investigation into Neural Net Optimization via Hessian Eigenvalue Density, ICML 2019, section 2).

    Args:
        model: on the device to compute on; weights, mode and gradients are restored.
        data: the images over which the loss is the mean; or ``(X, y)``, network inputs and targets.
        task: defines the loss; or a loss (``Task.from_loss``). None classifies.
        layers: names of layers; ``""`` is all layers together. None takes every layer and all together.
        top: number of eigenvalues, at most the number of weights.
        iterations: maximum number of Lanczos iterations; each takes one Hessian-vector product.
        draws: random sign vectors for trace and density; each takes up to ``iterations`` products.
        tolerance: of the residuals, relative to the largest eigenvalue.
        include: kinds of parameters, as in ``sharpness``.
        generator: of initial vectors and signs; None has seed 0.

    Raises:
        UsageError: for an unknown layer, or fewer than 2 draws.
        HowfarError: if the second derivatives of the loss are not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import curvature
        >>> found = curvature(model, (X, y), layers=["3.weight"], top=1, iterations=5, draws=2)["3.weight"]
        >>> found.parameters, len(found.eigenvalues)
        (1568, 1)
    """
    weights = weights_of(model, include)
    wanted = [*weights, ""] if layers is None else list(layers)
    if unknown := set(wanted) - {*weights, ""}:
        raise UsageError(f"no layer '{sorted(unknown)[0]}'. There are: {', '.join(weights)}.")
    if draws < 2 or top < 1 or iterations < 2:
        raise UsageError("curvature needs at least 2 draws, 2 iterations and 1 eigenvalue.")
    data, task = given(model, data, task)
    generator = generator or Generator().manual_seed(0)
    found = {}
    for name in wanted:
        chosen = {name: weights[name]} if name else weights
        with hessian(model, task, data, chosen) as product:
            found[name] = _measured(
                product, top=top, iterations=iterations, draws=draws, tolerance=tolerance, generator=generator
            )
    return found


def _measured(
    product: Hessian, *, top: int, iterations: int, draws: int, tolerance: float, generator: Generator
) -> Curvature:
    top = min(top, product.size)
    start = torch.randn(product.size, generator=generator).to(product.device)
    diagonal, off_diagonal, basis, last = lanczos(product, start, iterations, settled=tolerance, top=top)
    values, rows = tridiagonal_eigen(diagonal, off_diagonal)
    chosen = np.abs(values).argsort()[::-1][:top]
    chosen = chosen[values[chosen].argsort()[::-1]]
    vectors = torch.tensor(rows[:, chosen].T, dtype=basis.dtype, device=basis.device) @ basis
    residuals = last * np.abs(rows[-1, chosen])
    forms = [lanczos(product, signs(start, generator), iterations)[:2] for _ in range(draws)]
    traces = [product.size * form[0] for form, _ in forms]  # zᵀHz, as ‖z‖² is the number of parameters
    spectra = [tridiagonal_eigen(*form) for form in forms]
    places, densities = _density([(nodes, parts[0] ** 2) for nodes, parts in spectra])
    return Curvature(
        eigenvalues=tuple(values[chosen].tolist()),
        standard_errors=tuple(_error(product, vector) for vector in vectors),
        vectors=vectors.cpu(),
        residuals=tuple(residuals.tolist()),
        converged=bool((residuals <= tolerance * np.abs(values).max()).all()) and len(chosen) == top,
        trace=float(np.mean(traces)),
        trace_error=float(np.std(traces, ddof=1) / math.sqrt(draws)),
        places=tuple(places.tolist()),
        density=tuple(densities.mean(0).tolist()),
        density_error=tuple((densities.std(0, ddof=1) / math.sqrt(draws)).tolist()),
        parameters=product.size,
    )


def _error(product: Hessian, vector: Tensor) -> float:
    """Return the standard error of vᵀHv over images, from batches of about equal size."""
    shares = [float(part @ vector) for part in product.parts(vector)]
    count = len(shares)
    return float(np.std(shares, ddof=1) * math.sqrt(count)) if count > 1 else math.nan


def _density(spectra: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return a grid of eigenvalues and the smoothed density of every draw on it, from nodes and weights."""
    low, high = min(nodes.min() for nodes, _ in spectra), max(nodes.max() for nodes, _ in spectra)
    span = max(high - low, 1e-12 * max(abs(low), abs(high), 1.0))
    width = WIDTH * span
    places = np.linspace(low - 4 * width, high + 4 * width, POINTS)
    bells = [
        (weights * np.exp(-0.5 * ((places[:, None] - nodes) / width) ** 2)).sum(1) / (width * math.sqrt(2 * math.pi))
        for nodes, weights in spectra
    ]
    return places, np.stack(bells)
