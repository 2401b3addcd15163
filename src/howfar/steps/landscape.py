"""Loss surfaces around finished trajectories."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from howfar import arrays
from howfar.clock import Clock
from howfar.errors import UsageError, unknown
from howfar.grid.experiment import Experiment
from howfar.models.build import weight_names
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
from howfar.probe.landscape import Landscape, Norms
from howfar.protectors import Progress
from howfar.spec import LARGEST
from howfar.steps.runs import TEST, Run, together
from howfar.store import Record, Store
from howfar.tables.names import CLEAN

VERSION = 1
FILLING = 2  # version of the interpolation
MOST_POINTS = 1000  # per axis
CURVE_POINTS = 4  # factor of the number of points on a line
SeriesWork = Generator[Progress, None, list[str]]
Kind = Literal["pca", "random", "line", "curve", "hessian", "weights"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LandscapeSettings:
    """Settings of the surfaces.

    Attributes:
        plane: ``pca`` of all trajectories, ``random`` directions around every network, the ``line`` or the ``curve``
            from the clean network to every other, the two leading ``hessian`` eigenvectors of a layer, or two single
            ``weights``.
        points: of the grid along each axis.
        extent: margin of a plane around the trajectories, relative to their span; for random and Hessian planes the
            half-width, relative to the norm of the filters or of the layer.
        norms: batch statistics; see ``howfar.probe.landscape``.
        share: maximum share of the grid points to evaluate.
        draws: number of random planes.
        layer: of the Hessian.
        weights: two layer names with indices, ``head.weight:0,head.weight:1``.
        images: number of images to evaluate on, of the test set and of every training set.
    """

    plane: Kind = "pca"
    points: int = 25
    extent: float = 0.3
    norms: Norms = "re-estimated"
    share: float = 1.0
    draws: int = 3
    layer: str = ""
    weights: str = ""
    images: int = 512

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for invalid settings."""
        if self.points < 3 or self.images < 1 or self.draws < 1:
            raise UsageError("a landscape needs at least 3 points per axis, 1 image and 1 draw.")
        if self.points > MOST_POINTS or max(self.images, self.draws) > LARGEST:
            raise UsageError(
                "--points, --images or --draws is too large. "
                f"Use at most {MOST_POINTS} points per axis, and {LARGEST} images and draws."
            )
        if not 0 < self.share <= 1:
            raise UsageError(f"--share {self.share} is out of range. Use more than 0, and at most 1.")
        if self.plane == "hessian" and not self.layer:
            raise UsageError("no layer is given for the Hessian. Give --layer, e.g. --layer head.weight.")
        if self.plane == "weights" and self.weights.count(",") != 1:
            raise UsageError(
                "--plane weights needs two weights. Give --weights, e.g. --weights head.weight:0,head.weight:1."
            )
        if self.plane == "weights":
            self.chosen()

    def chosen(self) -> list[tuple[str, int]]:
        """Return the two weights: layer name and index."""
        found = [_weight(text) for text in self.weights.split(",")]
        if len(set(found)) < len(found):
            raise UsageError(
                f"--weights '{self.weights}' names the same weight twice, which spans no plane. Choose another one."
            )
        return found

    def check(self, model: nn.Module) -> None:
        """Raise ``UsageError`` unless a network has the layer or the weights that are wanted."""
        if self.plane == "weights":
            weight_plane(model, *self.chosen())
        elif self.plane == "hessian" and self.layer not in weight_names(model):
            raise unknown("layer", self.layer, weight_names(model))


@dataclass(frozen=True)
class _Panel:
    """One surface.

    Attributes:
        around: protector of the network that provides buffers, and the plane if there is one per network.
        on: protector of the training images to evaluate on, or ``test``.
        draw: index of the random plane.
    """

    around: str
    on: str
    draw: int = 0


class _Scene:
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

    def panels(self) -> Iterator[_Panel]:
        """Yield the surfaces to compute."""
        if self.settings.plane in ("pca", "weights"):
            yield _Panel(CLEAN, TEST)
            yield from (_Panel(label, label) for label in self.runs)
            return
        between = self.settings.plane in ("line", "curve")
        for label in self.runs:
            if between and label == CLEAN:
                continue
            for draw in range(self.settings.draws if self.settings.plane == "random" else 1):
                yield _Panel(label, TEST, draw)
                yield _Panel(label, label, draw)
                if between:
                    yield _Panel(label, CLEAN, draw)

    def compute(self, panel: _Panel) -> Generator[int, None, tuple[Landscape, dict[str, Any]]]:
        """Compute one surface; yields the number of evaluated points."""
        run = self.runs[panel.around]
        plane, rows, about = self._plane(panel)
        data = self.runs[CLEAN if panel.on == TEST else panel.on].evaluation_set(panel.on)
        model, task, norms = run.model, run.setup.task, self.settings.norms
        if self.settings.plane == "curve":
            return along(model, data, plane, curve_coordinates(rows[0]), task=task, norms=norms), about
        found = yield from scanning(model, data, plane, *rows, task=task, norms=norms, share=self.settings.share)
        return found, about

    def _plane(self, panel: _Panel) -> tuple[Plane, tuple[Floats, ...], dict[str, Any]]:
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


@dataclass(frozen=True, eq=False)
class LandscapeStep:
    """A requested surface, computed or not.

    Attributes:
        scene: its networks and planes.
        panel: which surface.
        spec: everything that determines it.
        key: in the store.
    """

    scene: _Scene
    panel: _Panel
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
    for scene in [_Scene(settings, runs) for runs in together(cells, store, device, settings.images)]:
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


def _weight(text: str) -> tuple[str, int]:
    name, _, number = text.strip().rpartition(":")
    if not name or not (number.isascii() and number.isdecimal()):
        raise UsageError(f"'{text}' is not a weight. Write layer name and index, e.g. head.weight:0.")
    return name, int(number)
