"""Curvature, SAL and gradient of every layer at the end of finished trajectories."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from howfar import arrays
from howfar.grid.experiment import Experiment
from howfar.probe import curvature, slices
from howfar.protectors import Progress
from howfar.steps.landscape import SeriesWork
from howfar.steps.runs import Run, together
from howfar.store import Record, Store
from howfar.store.clock import Clock

VERSION = 2
_CURVATURE = ("eigenvalues", "standard_errors", "residuals", "converged", "trace", "trace_error", "parameters")


@dataclass(frozen=True, eq=False)
class CurvatureStep:
    """A requested curvature measurement, finished or not.

    Attributes:
        run: the network with its trajectory.
        spec: everything that determines the readings.
        key: in the store.
    """

    run: Run
    spec: dict[str, Any]
    key: str


def curvature_steps(
    cells: Iterable[Experiment], store: Store, *, images: int, top: int, draws: int, device: torch.device
) -> Iterator[CurvatureStep]:
    """Yield all requested measurements without loading anything. Arguments as in ``run``."""
    settings = {"images": images, "top": top, "draws": draws}
    for label, run in (pair for group in together(cells, store, device, images) for pair in group.items()):
        e = run.experiment
        spec = {
            "trajectory": run.key, "settings": settings, "version": VERSION,
            "dataset": e.protect_spec()["dataset"]["label"],
            "model": e.model.label, "protector": label, "seed": e.seed,
        }  # fmt: skip
        yield CurvatureStep(run, spec, Store.key("curvature", spec))


def run(
    cells: Iterable[Experiment], store: Store, *, images: int, top: int, draws: int, device: torch.device
) -> SeriesWork:
    """Measure curvature, SAL and gradient of every layer at the end of each trajectory; returns the keys.

    Args:
        cells: finished trajectories.
        store: source of the trajectories and destination of the readings.
        images: number per training set.
        top: number of eigenvalues.
        draws: random vectors for trace and density.
        device: of the computation.
    """
    steps = list(curvature_steps(cells, store, images=images, top=top, draws=draws, device=device))
    keys = [step.key for step in steps]
    for number, step in enumerate(steps):
        if store.done("curvature", step.key):
            continue
        run, label, e = step.run, step.spec["protector"], step.run.experiment
        yield Progress(number, len(steps), f"{e.model.label} on {label} seed {e.seed}")
        clock, generator = Clock(device), arrays.seeded(e.seed, "curvature")
        data, task = run.evaluation_set(label), run.setup.task
        found = curvature(run.model, data, task, top=top, draws=draws, generator=generator)
        lines = slices(run.model, data, task, generator=generator)
        result = {
            "layers": {
                name: {
                    **{field: getattr(reading, field) for field in _CURVATURE},
                    **({"sal": lines[name].reading.sal, "sal_error": lines[name].reading.standard_error,
                        "radius": lines[name].radius, "gradient": lines[name].slope}
                       if name else {"places": reading.places, "density": reading.density,
                                     "density_error": reading.density_error}),
                }
                for name, reading in found.items()
            }
        }  # fmt: skip
        values = {
            f"{kind}:{name}": torch.tensor(getattr(one, kind))
            for name, one in lines.items()
            for kind in ("distances", "gradient", "random")
        }
        store.save(Record("curvature", step.key, step.spec, "done", result, clock.stop()), values)
    return keys
