"""Curvature, SAL and gradient of every layer at the end of finished trajectories, kept in the store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from howfar import arrays
from howfar.clock import Clock
from howfar.grid.experiment import Experiment
from howfar.probe import curvature, slices
from howfar.protect import Progress
from howfar.steps.landscape import SeriesWork
from howfar.steps.runs import Run, together
from howfar.store import Record, Store

VERSION = 2
_CURVATURE = ("eigenvalues", "standard_errors", "residuals", "converged", "trace", "trace_error", "parameters")


@dataclass(frozen=True, eq=False)
class CurvatureStep:
    """One network whose curvature is wanted, measured or not.

    Attributes:
        run: the network with its path.
        spec: everything that determines the readings.
        key: in the store.
    """

    run: Run
    spec: dict[str, Any]
    key: str


def curvature_steps(
    cells: Iterable[Experiment], store: Store, *, images: int, top: int, draws: int, device: torch.device
) -> Iterator[CurvatureStep]:
    """Yield every network whose curvature is wanted; nothing is loaded or measured. Arguments as of ``run``."""
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
    """Measure curvature, SAL and gradient of every layer at the end of each path; yields progress, returns keys.

    Args:
        cells: finished trajectories.
        store: where they are, and where readings go.
        images: of every training set.
        top: eigenvalues.
        draws: for trace and density.
        device: where networks are judged.
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
        found = curvature(run.model, task, data, top=top, draws=draws, generator=generator)
        sliced = slices(run.model, task, data, generator=generator)
        result = {
            "layers": {
                name: {
                    **{field: getattr(reading, field) for field in _CURVATURE},
                    **({"sal": sliced[name].reading.sal, "sal_error": sliced[name].reading.standard_error,
                        "radius": sliced[name].radius, "gradient": sliced[name].slope}
                       if name else {"places": reading.places, "density": reading.density,
                                     "density_error": reading.density_error}),
                }
                for name, reading in found.items()
            }
        }  # fmt: skip
        lines = {
            f"{kind}:{name}": torch.tensor(getattr(one, kind))
            for name, one in sliced.items()
            for kind in ("distances", "gradient", "random")
        }
        store.save(Record("curvature", step.key, step.spec, "done", result, clock.stop()), lines)
    return keys
