"""Time estimates of landscapes and curvatures, from earlier records or from a few timed evaluations."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from howfar import arrays
from howfar.data import Data
from howfar.grid.estimate import COST, build_victim, step_seconds, took
from howfar.grid.experiment import Experiment
from howfar.models.build import weights_of
from howfar.probe import along, random_plane
from howfar.probe.evaluators import Norms
from howfar.probe.hessian import Hessian
from howfar.probe.surface import Surface
from howfar.steps.curvature import curvature_steps
from howfar.steps.landscape import landscape_steps
from howfar.steps.landscape_panels import CURVE_POINTS
from howfar.steps.landscape_settings import LandscapeSettings
from howfar.store import Store
from howfar.tasks import Task

PLACES = 2  # timed points per core
MANY, FEW = 64, 4  # images of a timed evaluation of a small and of a large network
SLOW = 0.5  # seconds of evaluating a network above which fewer images are timed
CURVE = 300 * 128  # images in fitting a curve, steps × images per step, as in ``probe.curve``
ITERATIONS, DRAWS = 60, 6  # of Lanczos, and random vectors, as in ``probe.curvature``
ROWS, LONGEST = 30, 100_000  # shape of a timed orthogonalization: half of the iterations, and the maximum of parameters
CUTS = 21 * 4  # points in the slices of a layer, as in ``probe.slices``
_Timed = Callable[[], object]


def landscape_seconds(
    cells: Iterable[Experiment], store: Store, settings: LandscapeSettings, device: torch.device
) -> dict[str, float]:
    """Return the expected wall seconds of every surface that is not in the store, by its key, without loading anything.

    Args:
        cells: trajectories, finished or not.
        store: earlier surfaces of the same kind take precedence.
        settings: settings of the surfaces.
        device: of the computation.
    """
    known = _known(store, "landscape", lambda spec: [*_like(spec["scene"]), spec["panel"]["on"] == "test"])
    found: dict[str, float] = {}
    begun: set[tuple[str, str, int]] = set()  # planes whose cost is already counted
    for step in landscape_steps(cells, store, settings, device):
        if store.complete("landscape", step.key):
            continue
        run, panel = step.scene.runs[step.panel.around], step.panel
        kind = repr([*_like(step.scene.spec), panel.on == "test"])
        if kind in known:
            found[step.key] = known[kind]
            continue
        e = run.experiment
        count = min(settings.images, e.counts[panel.on == "test"])
        lines = settings.plane in ("line", "curve")
        places = CURVE_POINTS * settings.points if lines else max(int(settings.share * settings.points**2), 1)
        found[step.key] = places * _place_seconds(e, settings.norms) * count
        plane = step.scene.spec["model"], f"{e.seed} {panel.around}", panel.draw
        if plane not in begun:
            begun.add(plane)
            found[step.key] += _plane_seconds(e, settings)
    return found


def curvature_seconds(
    cells: Iterable[Experiment], store: Store, *, images: int, top: int, draws: int, device: torch.device
) -> dict[str, float]:
    """Return the expected wall seconds of every curvature that is not in the store, by its key.

    Args:
        cells: trajectories, finished or not.
        store: earlier readings of the same kind take precedence.
        images: number per training set.
        top: number of eigenvalues.
        draws: random vectors for trace and density.
        device: of the computation.
    """
    known = _known(store, "curvature", _like)
    found: dict[str, float] = {}
    for step in curvature_steps(cells, store, images=images, top=top, draws=draws, device=device):
        if store.done("curvature", step.key):
            continue
        kind = repr(_like(step.spec))
        if kind not in known:
            e = step.run.experiment
            count = min(images, e.counts[0])
            seconds, layers = step_seconds(e)
            products = _product_seconds(e)
            known[kind] = count * seconds * (1 + layers * COST["fast"])  # SAL
            known[kind] += layers * CUTS * count * _place_seconds(e, "frozen")
            known[kind] += sum(_lanczos_seconds(each, size, count, 1 + draws, top) for each, size in products.values())
        found[step.key] = known[kind]
    return found


def _known(store: Store, name: str, like: Callable[[Mapping[str, Any]], list[Any]]) -> dict[str, float]:
    """Return the mean wall seconds of earlier records by kind; see ``_like``."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in store.records(name, damaged=True):
        if (seconds := took(record)) is not None:
            with contextlib.suppress(
                KeyError, TypeError, AttributeError
            ):  # a record that does not say what it is about
                found[repr(like(record.spec))].append(seconds)
    return {kind: sum(seconds) / len(seconds) for kind, seconds in found.items()}


def _like(spec: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a specification that determine the duration: not seed, protector and trajectories."""
    return [spec.get(name) for name in ("dataset", "task", "model", "view", "settings")]


def _plane_seconds(experiment: Experiment, settings: LandscapeSettings) -> float:
    """Return the seconds for finding a plane: fitting a curve, or the Lanczos iteration for the Hessian."""
    count = min(settings.images, experiment.counts[0])
    if settings.plane == "curve":
        return CURVE * step_seconds(experiment)[0]
    if settings.plane == "hessian":
        return _lanczos_seconds(*_product_seconds(experiment)[settings.layer], count, 1 + DRAWS, 2)
    return 0.0


def _lanczos_seconds(product: float, size: int, images: int, starts: int, top: int) -> float:
    """Return the seconds of the Lanczos iteration from several starts, and of the eigenvalues' standard errors.

    Args:
        product: seconds of a Hessian-vector product per image.
        size: number of parameters.
        images: number of images.
        starts: number of initial vectors.
        top: number of eigenvalues.
    """
    iterations = min(ITERATIONS, size)
    orthogonalizing = 2 * _orthogonal_seconds() * size * iterations / ROWS
    return starts * iterations * (product * images + orthogonalizing / 2) + top * product * images


def _victim(experiment: Experiment) -> tuple[nn.Module, Task, Data]:
    """Return an untrained network, its task and the images to time."""
    model, task = build_victim(experiment)
    seconds, layers = step_seconds(experiment)
    count = MANY if seconds * MANY * layers < SLOW else FEW
    train, chosen = experiment.splits.train, torch.arange(count) % len(experiment.splits.train)
    targets = {name: values[chosen] for name, values in train.targets.items()}
    return model, task, task.prepare(Data(train.pixels[chosen], targets, torch.arange(count)))


def _place_seconds(experiment: Experiment, norms: Norms) -> float:
    """Return the seconds of evaluating loss and quality at one point per image, while all cores are busy."""
    key = experiment.model.label, experiment.task.label, experiment.splits.train.shape, norms
    if key not in _places:
        model, task, data = _victim(experiment)
        plane = random_plane(model, generator=arrays.seeded(0, "estimate"))
        workers = min(arrays.cores(), torch.get_num_threads())
        few, many = (np.zeros((count * workers, 2)) for count in (1, 1 + PLACES))
        setting_up, total = (
            _seconds(lambda: along(model, data, plane, places, task=task, norms=norms))  # noqa: B023
            for places in (few, many)
        )
        _places[key] = max(total - setting_up, 0.0) / (PLACES * workers) / len(data)
    return _places[key]


def _product_seconds(experiment: Experiment) -> dict[str, tuple[float, int]]:
    """Return the seconds of a Hessian-vector product per image, and the number of parameters, by layer."""
    key = experiment.model.label, experiment.task.label, experiment.splits.train.shape
    if key not in _products:
        model, task, data = _victim(experiment)
        weights = weights_of(model)
        _products[key] = {}
        for name in [*weights, ""]:
            chosen = {name: weights[name]} if name else weights
            surface = Surface(model, task, data, dict(chosen), batch_size=len(data))
            with surface.opened(fold=False), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                for weight in chosen.values():
                    weight.requires_grad_()
                product = Hessian(surface, chosen, kept=True)
                vector = torch.ones(product.size)
                _products[key][name] = _seconds(lambda: product(vector)) / len(data), product.size  # noqa: B023
    return _products[key]


def _orthogonal_seconds() -> float:
    """Return the seconds per parameter of orthogonalizing a vector against ``ROWS`` basis vectors."""
    basis, vector = torch.ones(ROWS, LONGEST), torch.ones(LONGEST)
    return _seconds(lambda: vector - basis.T @ (basis @ vector)) / LONGEST


def _seconds(work: _Timed) -> float:
    """Return the seconds of the faster of two runs, as the first one may include setup."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


_places: dict[Any, float] = {}
_products: dict[Any, dict[str, tuple[float, int]]] = {}
