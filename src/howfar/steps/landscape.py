"""Loss surfaces around finished trajectories."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from howfar.grid.experiment import Experiment
from howfar.protectors import Progress
from howfar.steps.landscape_panels import Panel, Scene
from howfar.steps.landscape_settings import LandscapeSettings
from howfar.steps.runs import together
from howfar.store import Record, Store
from howfar.store.clock import Clock

VERSION = 1
FILLING = 2  # version of the interpolation
SeriesWork = Generator[Progress, None, list[str]]


@dataclass(frozen=True, eq=False)
class LandscapeStep:
    """A requested surface, computed or not.

    Attributes:
        scene: its networks and planes.
        panel: which surface.
        spec: everything that determines it.
        key: in the store.
    """

    scene: Scene
    panel: Panel
    spec: dict[str, Any]
    key: str


def landscape_steps(
    cells: Iterable[Experiment], store: Store, settings: LandscapeSettings, device: torch.device
) -> Iterator[LandscapeStep]:
    """Yield all requested surfaces without loading anything.

    Args:
        cells: trajectories with one order of batches each, including clean ones.
        store: source of the trajectories.
        settings: settings of the surfaces.
        device: of the computation.
    """
    version = VERSION if settings.share == 1 else [VERSION, FILLING]
    for scene in [Scene(settings, runs) for runs in together(cells, store, device, settings.images)]:
        for panel in scene.panels():
            spec = {"scene": scene.spec, "panel": asdict(panel), "version": version}
            yield LandscapeStep(scene, panel, spec, Store.key("landscape", spec))


def run(cells: Iterable[Experiment], store: Store, settings: LandscapeSettings, device: torch.device) -> SeriesWork:
    """Compute the surfaces that are not in the store; yields progress and returns all keys.

    Args:
        cells: finished trajectories with one order of batches each, including clean ones.
        store: source of the trajectories and destination of the surfaces.
        settings: settings of the surfaces.
        device: of the computation.
    """
    keys: list[str] = []
    steps = list(landscape_steps(cells, store, settings, device))
    for number, step in enumerate(steps):
        scene, panel = step.scene, step.panel
        keys.append(step.key)
        if store.complete("landscape", step.key):
            continue
        clock = Clock(device)
        note = f"{scene.spec['model']} seed {scene.spec['seed']}: around {panel.around} on {panel.on}"
        work = scene.compute(panel)
        places = settings.points**2
        while True:
            try:
                done = next(work)
            except StopIteration as end:
                found, about = end.value
                break
            yield Progress(number * places + done, len(steps) * places, note)
        task = scene.clean.setup.task
        result = {"metric": task.metric, "higher_is_better": task.higher_is_better, **about}
        values = {
            **{f"coordinates_{axis}": torch.tensor(row) for axis, row in enumerate(found.coordinates)},
            "loss": torch.from_numpy(found.loss), "quality": torch.from_numpy(found.quality),
            "computed": torch.from_numpy(found.computed),
        }  # fmt: skip
        store.save(Record("landscape", step.key, step.spec, "done", result, clock.stop()), values)
    return keys
