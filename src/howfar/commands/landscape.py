"""``howfar landscape`` and ``howfar curvature``."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from howfar import terminal
from howfar.commands.grid import Grid, refuse_several, untrained
from howfar.errors import UsageError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from torch import nn

    from howfar.grid.experiment import Experiment
    from howfar.steps.landscape import LandscapeSettings
    from howfar.store import Store

T = TypeVar("T")


@dataclass(kw_only=True)
class _WithPaths(Grid):
    """A grid of victims whose weights are kept while they learn."""

    usual: ClassVar = {"suite": "digits", "models": "lenet5", "protectors": "em", "seeds": "0"}
    single: ClassVar = ("defenses", "tasks")

    every: int = 0
    """Batches between two kept moments; 0 keeps the ends of epochs."""
    half: bool = False
    """Keep weights in half precision."""
    images: int = 512
    """Images that networks are judged on, of the test and of every training set."""

    def with_paths(
        self, costs: "Callable[[list[Experiment], Store], dict[str, float]]",
        check: "Callable[[nn.Module], None] | None" = None,
    ) -> "tuple[list[Experiment], Store] | None":  # fmt: skip
        """Train what the store lacks; return all runs and the store, or None after a dry run.

        Args:
            costs: returns the expected seconds of what is computed after training.
            check: refuses networks that lack what is wanted; asked about every victim before any is trained.
        """
        from howfar.grid.experiment import TrajectoryOptions

        if self.every < 0 or self.images < 1:
            raise UsageError("--every counts batches and --images images. Take 0 or more, and 1 or more.")
        cells = self.experiments()
        refuse_several(cells, "defense", "task")
        if check is not None:
            for model in untrained(cells):
                check(model)
        cells = [replace(cell, trajectory=TrajectoryOptions(self.every, self.half)) for cell in cells]
        store = self.store()
        return (cells, store) if self.complete(cells, store, costs) else None


@dataclass(kw_only=True)
class Landscape(_WithPaths):
    """The loss around clean and protected victims, with their paths on the same plane.

    Trains the victims that the store lacks, then computes loss and quality on clean test images and on the images each
    victim learned from. Writes landscape.json, landscape.npz and the page; --save draws a figure for a paper. Takes one
    defense and task: of a suite, the first of each unless they are given. Without --dataset, --suite or --config:
    LeNet-5 on digits, clean and protected by em, one seed.
    """

    plane: Literal["pca", "random", "line", "curve", "hessian", "weights"] = "pca"
    """Plane of all paths; random directions, filter-normalised; line or curved path from the clean victim to every
    other; the two leading Hessian eigenvectors of --layer; two single --weights."""
    points: int = 25
    """Of the grid along each axis."""
    extent: float | None = None
    """Margin around the paths, in their span (default: 0.3); of random and Hessian planes the radius, in the norm of
    the filters (1) or of the layer (0.1)."""
    norms: Literal["re-estimated", "frozen"] = "re-estimated"
    """Statistics of batch normalisation: taken anew at every place, or those of the network."""
    share: float = 1.0
    """Compute at most this share of the places, a lattice and where the loss bends, and lay a spline; 0.2 is enough."""
    draws: int = 3
    """Random planes around every victim."""
    layer: str = ""
    """For --plane hessian, e.g. head.weight."""
    weights: str = ""
    """For --plane weights, e.g. head.weight:0,head.weight:1."""
    save: Path | None = None
    """Draw the first scene as .pdf, .svg or .png; those of further victims and seeds get a number."""

    def __call__(self) -> int:
        from howfar import engine
        from howfar.report.landscape_figures import check_figure
        from howfar.steps.costs import landscape_seconds
        from howfar.steps.landscape import LandscapeSettings

        require("plotly", "report", "the page")
        if self.save is not None:
            check_figure(self.save)
        extent = {"random": 1.0, "hessian": 0.1}.get(self.plane, 0.3) if self.extent is None else self.extent
        if not 0 < extent < math.inf:
            raise UsageError(f"--extent {extent} makes no sense. Take a number above 0.")
        settings = LandscapeSettings(
            self.plane, self.points, extent, self.norms, self.share, self.draws, self.layer, self.weights, self.images
        )
        device = engine.choose_device(self.device)
        ready = self.with_paths(lambda cells, store: landscape_seconds(cells, store, settings, device), settings.check)
        if ready is None:
            return 0
        return self._draw(*ready, settings, device)

    def _draw(
        self, cells: "list[Experiment]", store: "Store", settings: "LandscapeSettings", device: "torch.device"
    ) -> int:
        """Compute the surfaces and write what shows them; returns the exit code."""
        from howfar.report.landscape_figures import save
        from howfar.report.landscapes import as_npz, note
        from howfar.report.render import render
        from howfar.steps import landscape
        from howfar.tables import collect
        from howfar.tables.landscapes import scenes

        keys = terminal.watch(landscape.run(cells, store, settings, device), "landscape")
        found = scenes(store, keys)
        text = json.dumps([scene.as_dict() for scene in found], separators=(",", ":"), allow_nan=False)
        store.leave("landscape.json", text + "\n")
        store.leave("landscape.npz", as_npz(found))
        store.leave("report.html", render(collect(store)))
        for path, scene in _numbered(self.save, found):
            save(scene, path)
        if self.json:
            terminal.out(text)
        else:
            for scene in found:
                terminal.say(f"{scene.title}: {note(scene)}")
            terminal.say(f"page: {store.root / 'report.html'}, grid: {store.root / 'landscape.npz'}")
        return 0


@dataclass(kw_only=True)
class Curvature(_WithPaths):
    """Leading Hessian eigenvalues, trace, gradient and SAL of every layer at the end of training.

    Trains the victims that the store lacks; every one is measured on the images that it learned from. Says how SAL goes
    along with the norm of the gradient and with the leading eigenvalue. Writes curvature.json and curvature.md. Takes
    one defense and task: of a suite, the first of each unless they are given. Without --dataset, --suite or --config:
    LeNet-5 on digits, clean and protected by em, one seed.
    """

    top: int = 3
    """Eigenvalues of every layer."""
    draws: int = 6
    """Random vectors for trace and spectral density."""
    save: Path | None = None
    """Draw the loss along the gradient and random directions of every layer, with SAL's ball, as .pdf, .svg or .png;
    figures of further victims and seeds get a number."""

    def __call__(self) -> int:
        from howfar import engine
        from howfar.report.landscape_figures import check_figure
        from howfar.steps import curvature
        from howfar.steps.costs import curvature_seconds

        if self.draws < 2 or self.top < 1:
            raise UsageError("curvature needs at least --draws 2 and --top 1.")
        if self.save is not None:
            check_figure(self.save)
        device = engine.choose_device(self.device)
        how: dict[str, Any] = {"images": self.images, "top": self.top, "draws": self.draws, "device": device}
        ready = self.with_paths(lambda cells, store: curvature_seconds(cells, store, **how))
        if ready is None:
            return 0
        from howfar.report.curvatures import layers, overview
        from howfar.report.landscape_figures import save_cuts
        from howfar.tables.curvatures import curvatures
        from howfar.tables.cuts import cuts

        cells, store = ready
        work = curvature.run(cells, store, **how)
        keys = terminal.watch(work, "curvature")
        found = curvatures(store, keys)
        for path, entry in _numbered(self.save, cuts(store, keys)):
            save_cuts(entry, path)
        values = [one.as_dict() for one in found]
        store.leave("curvature.json", terminal.json_text(values) + "\n")
        tables = [overview(found), *map(layers, found)]
        store.leave("curvature.md", "\n".join(terminal.markdown(*table) for table in tables))
        if self.json:
            terminal.show_json(values)
        else:
            terminal.show_table(*tables[0])
            terminal.say(f"layers: {store.root / 'curvature.md'}")
        return 0


def _numbered(path: Path | None, entries: "Sequence[T]") -> "Iterator[tuple[Path, T]]":
    """Yield entries with the names of their figures, and say where those are; none without a path."""
    for number, entry in enumerate(entries if path else []):
        named = path.with_stem(f"{path.stem}-{number + 1}") if path and number else path or Path()
        yield named, entry
        terminal.say(f"figure: {named}")
