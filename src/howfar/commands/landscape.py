"""``howfar landscape`` and ``howfar curvature``."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from howfar.commands import progress, terminal
from howfar.commands.common import Flag, Printed, option, require_page
from howfar.commands.grid import Grid, refuse_several, untrained
from howfar.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from torch import nn

    from howfar.grid.experiment import Experiment
    from howfar.steps.landscape_settings import LandscapeSettings
    from howfar.store import Store

T = TypeVar("T")


@dataclass(kw_only=True)
class _WithPaths(Grid):
    """A grid of victims whose weights are kept while they learn."""

    usual: ClassVar = {"suite": "digits", "models": "lenet5", "protectors": "em", "seeds": "0"}
    single: ClassVar = ("defenses", "tasks")

    every: Annotated[int, option("N", "0, the end of every epoch")] = 0
    """Batches between two checkpoints."""
    half: Flag = False
    """Store checkpoints in half precision."""
    images: Annotated[int, option("N")] = 512
    """Images per data set (test set and every training set) on which networks are evaluated."""

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
    """Compute the loss landscape around clean and poisoned victims.

    Trains the victims that the store lacks. Then computes loss and quality on a plane of the weight space, on clean
    test images and on the training images of each victim, and projects their training paths onto it. Writes
    landscape.json, landscape.npz and report.html; --save draws a figure for a paper. Takes one defense and task: by
    default the first of each in the suite. Without --dataset, --suite or --config: LeNet-5 on digits, clean and with
    em, one seed.
    """

    examples: ClassVar = ("howfar landscape", "howfar landscape --plane random --save landscape.pdf")

    plane: Annotated[
        Literal["pca", "random", "line", "curve", "hessian", "weights"],
        option("{pca,random,line,curve,hessian,weights}"),
    ] = "pca"
    """Plane: pca of paths, random directions, line or curve between victims, hessian of --layer, or two --weights."""
    points: Annotated[int, option("N")] = 25
    """Grid points along each axis."""
    extent: Annotated[float | None, option("SIZE", "0.3; random 1, hessian 0.1")] = None
    """Margin around the paths as a share of their span. For random and hessian planes: radius relative to the norm."""
    norms: Literal["re-estimated", "frozen"] = "re-estimated"
    """Batch-norm statistics: re-estimated at every point, or frozen at those of the network."""
    share: Annotated[float, option("SHARE")] = 1.0
    """Compute at most this share of the points and interpolate the rest; 0.2 is enough."""
    draws: Annotated[int, option("N")] = 3
    """Random planes around every victim."""
    layer: Annotated[str, option("NAME", "")] = ""
    """Layer for --plane hessian, e.g. head.weight."""
    weights: Annotated[str, option("NAMES", "")] = ""
    """Weights for --plane weights, e.g. head.weight:0,head.weight:1."""
    save: Annotated[Path | None, option("FILE", "")] = None
    """Draw a figure as .pdf, .svg or .png. Figures of further victims and seeds get a number."""

    def __call__(self) -> int:
        from howfar import engine
        from howfar.report.landscape_figures import check_figure
        from howfar.steps.costs import landscape_seconds
        from howfar.steps.landscape_settings import LandscapeSettings

        require_page()
        if self.save is not None:
            check_figure(self.save)
        extent = {"random": 1.0, "hessian": 0.1}.get(self.plane, 0.3) if self.extent is None else self.extent
        if not 0 < extent < math.inf:
            raise UsageError(f"--extent {extent} is out of range. Take a number above 0.")
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

        keys = progress.watch(landscape.run(cells, store, settings, device), "landscape")
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
class Curvature(Printed, _WithPaths):
    """Compute Hessian eigenvalues, gradient and SAL of every layer.

    Trains the victims that the store lacks, and measures each one at the end of training on its own training images:
    leading eigenvalues and trace of the Hessian, gradient norm and SAL. Reports how SAL correlates with the gradient
    norm and with the leading eigenvalue. Writes curvature.json and curvature.md. Takes one defense and task: by default
    the first of each in the suite. Without --dataset, --suite or --config: LeNet-5 on digits, clean and with em, one
    seed.
    """

    examples: ClassVar = ("howfar curvature", "howfar curvature --protectors ops --top 5")

    top: Annotated[int, option("N")] = 3
    """Leading eigenvalues per layer."""
    draws: Annotated[int, option("N")] = 6
    """Random vectors for trace and spectral density."""
    save: Annotated[Path | None, option("FILE", "")] = None
    """Draw the loss of every layer along the gradient and random directions, as .pdf, .svg or .png."""

    def __call__(self) -> int:
        from howfar import engine
        from howfar.report.landscape_figures import check_figure
        from howfar.steps import curvature
        from howfar.steps.costs import curvature_seconds

        _ = self.form  # refused before anything is trained
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
        keys = progress.watch(work, "curvature")
        found = curvatures(store, keys)
        for path, entry in _numbered(self.save, cuts(store, keys)):
            save_cuts(entry, path)
        self.tell_layers("curvature", found, [overview(found), *map(layers, found)], store)
        return 0


def _numbered(path: Path | None, entries: "Sequence[T]") -> "Iterator[tuple[Path, T]]":
    """Yield entries with the names of their figures, and say where those are; none without a path."""
    for number, entry in enumerate(entries if path else []):
        named = path.with_stem(f"{path.stem}-{number + 1}") if path and number else path or Path()
        yield named, entry
        terminal.say(f"figure: {named}")
