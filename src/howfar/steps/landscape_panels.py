"""The surfaces of one victim and seed: which planes they lie in, and their values."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from howfar import arrays
from howfar.probe import (
    Plane,
    along,
    curvature,
    curve,
    curve_coordinates,
    flat,
    layer_plane,
    line,
    pca_plane,
    random_plane,
    scanning,
    weight_plane,
)
from howfar.probe.landscape import Landscape
from howfar.steps.landscape_settings import LandscapeSettings
from howfar.steps.runs import TEST, Run
from howfar.tables.names import CLEAN

CURVE_POINTS = 4  # factor of the number of points on a line
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One surface.

    Attributes:
        around: protector of the network that provides buffers, and the plane if there is one per network.
        on: protector of the training images to evaluate on, or ``test``.
        draw: index of the random plane.
    """

    around: str
    on: str
    draw: int = 0


class Scene:
    """All networks of one victim and seed, with their surfaces."""

    def __init__(self, settings: LandscapeSettings, runs: Mapping[str, Run]) -> None:
        self.settings, self.runs = settings, runs
        self.clean = runs[CLEAN]
        self._made: dict[tuple[str, int], tuple[Plane, tuple[Floats, ...], dict[str, Any]]] = {}

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that determines the surfaces."""
        e = self.clean.experiment
        return {
            "dataset": e.protect_spec()["dataset"]["label"], "task": e.task.label, "model": e.model.label,
            "seed": e.seed, "view": asdict(self.settings),
            "trajectories": {label: run.key for label, run in self.runs.items()},
        }  # fmt: skip

    def panels(self) -> Iterator[Panel]:
        """Yield the surfaces to compute."""
        if self.settings.plane in ("pca", "weights"):
            yield Panel(CLEAN, TEST)
            yield from (Panel(label, label) for label in self.runs)
            return
        between = self.settings.plane in ("line", "curve")
        for label in self.runs:
            if between and label == CLEAN:
                continue
            for draw in range(self.settings.draws if self.settings.plane == "random" else 1):
                yield Panel(label, TEST, draw)
                yield Panel(label, label, draw)
                if between:
                    yield Panel(label, CLEAN, draw)

    def compute(self, panel: Panel) -> Generator[int, None, tuple[Landscape, dict[str, Any]]]:
        """Compute one surface; yields the number of evaluated points."""
        run = self.runs[panel.around]
        plane, rows, about = self._plane(panel)
        data = self.runs[CLEAN if panel.on == TEST else panel.on].evaluation_set(panel.on)
        model, task, norms = run.model, run.setup.task, self.settings.norms
        if self.settings.plane == "curve":
            return along(model, data, plane, curve_coordinates(rows[0]), task=task, norms=norms), about
        found = yield from scanning(model, data, plane, *rows, task=task, norms=norms, share=self.settings.share)
        return found, about

    def _plane(self, panel: Panel) -> tuple[Plane, tuple[Floats, ...], dict[str, Any]]:
        shared = self.settings.plane in ("pca", "weights")
        key = (CLEAN if shared else panel.around, panel.draw)
        if key not in self._made:
            self._made[key] = self._shared() if shared else self._own(*key)
        return self._made[key]

    def _shared(self) -> tuple[Plane, tuple[Floats, ...], dict[str, Any]]:
        """Return a plane shared by all trajectories."""
        paths = {label: run.path.weights() for label, run in self.runs.items()}
        explained: tuple[float, ...] = ()
        if self.settings.plane == "pca":
            plane, explained = pca_plane(list(paths.values()), self.clean.path.parameters)
        else:
            plane = weight_plane(self.clean.model, *self.settings.chosen())
        places = {label: plane.project(path) for label, path in paths.items()}
        every = torch.cat(list(places.values())).double()
        low, high = every.min(0).values, every.max(0).values
        margin = self.settings.extent * (high - low).clamp_min(1e-6)
        rows = tuple(
            np.linspace(float(a), float(b), self.settings.points)
            for a, b in zip(low - margin, high + margin, strict=True)
        )  # fmt: skip
        about = {
            "explained": list(explained),
            "missed": {label: plane.unexplained(path) for label, path in paths.items()},
            "paths": {label: place.tolist() for label, place in places.items()},
        }
        return plane, rows, about

    def _own(self, label: str, draw: int) -> tuple[Plane, tuple[Floats, ...], dict[str, Any]]:
        """Return a plane or line of one network."""
        run, settings = self.runs[label], self.settings
        generator = arrays.seeded(run.experiment.seed, "landscape", settings.plane, label, draw)
        if settings.plane in ("line", "curve"):
            t = np.linspace(0, 1, CURVE_POINTS * settings.points)
            about: dict[str, Any] = {"explained": [], "missed": {}, "paths": {}}
            if settings.plane == "line":
                names = list(run.path.start)  # including buffers, so that both ends are the networks themselves
                return line(flat(self.clean.model, names), flat(run.model, names), names), (t,), about
            task, train_data = run.setup.task, self.clean.setup.train_data
            ends = flat(self.clean.model), flat(run.model)
            return curve(run.model, train_data, *ends, task=task, generator=generator), (t,), about
        if settings.plane == "hessian":
            data, layers = run.evaluation_set(label), [settings.layer]
            found = curvature(run.model, data, run.setup.task, layers=layers, top=2, generator=generator)[layers[0]]
            plane = layer_plane(run.model, settings.layer, found.vectors)
            about = {
                "explained": [], "missed": {}, "paths": {},
                "eigenvalues": list(found.eigenvalues), "converged": found.converged,
            }  # fmt: skip
            half_width = settings.extent * float(plane.origin.norm())
        else:
            plane, half_width = random_plane(run.model, generator=generator), settings.extent
            about = {"explained": [], "missed": {}, "paths": {}}
        row = np.linspace(-half_width, half_width, settings.points)
        return plane, (row, row), {**about, "paths": {label: [[0.0, 0.0]]}}
