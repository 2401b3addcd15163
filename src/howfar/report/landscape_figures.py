"""Loss landscapes, and cuts through layers, as figures for a paper: PDF, SVG or PNG."""

import importlib.util
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howfar.errors import UsageError
from howfar.report.figures import colors
from howfar.report.landscapes import ABREAST, FLOOR, of_paths, strokes

if TYPE_CHECKING:
    from howfar.tables.cuts import Cuts
    from howfar.tables.landscapes import Scene

KINDS = (".pdf", ".svg", ".png")
WIDTH = 2.3  # inches a surface
ROW = 34  # letters of a title


def check_figure(path: Path) -> None:
    """Raise ``UsageError`` unless a figure of this name can be written."""
    if path.suffix not in KINDS:
        raise UsageError(f"{path}: a figure ends in {', '.join(KINDS)}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("figures need matplotlib. Install it: pip install 'howfar[figures]'.")


def save(scene: "Scene", path: Path) -> None:
    """Write all surfaces of a scene side by side, on one logarithmic scale, with the paths; lines as lines."""
    if scene.panels[0].flat:
        _draw(path, 1, 1, (5.0, 3.2), lambda _, axes: _lines(scene, axes[0, 0]))
        return
    across = min(len(scene.panels), ABREAST)
    down = math.ceil(len(scene.panels) / across)
    size = (WIDTH * across + 0.8, WIDTH * down + 0.4)
    _draw(path, down, across, size, lambda figure, axes: _maps(scene, figure, axes.flat))


def save_cuts(cuts: "Cuts", path: Path) -> None:
    """Write the loss along the gradient and along random directions (thin) of every layer, with SAL's ball."""
    across = min(len(cuts.layers), ABREAST)
    down = math.ceil(len(cuts.layers) / across)
    size = (WIDTH * across + 0.4, 0.75 * WIDTH * down + 0.4)
    _draw(path, down, across, size, lambda figure, axes: _cuts(cuts, figure, list(axes.flat)))


def _draw(path: Path, down: int, across: int, size: tuple[float, float], fill: Callable[[Any, Any], None]) -> None:
    """Write a figure: the text of a PDF or SVG stays text, and no date goes in."""
    check_figure(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "font.size": 8, "svg.hashsalt": "howfar"}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        fill(figure, figure.subplots(down, across, squeeze=False))
        dated = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix)
        figure.savefig(path, dpi=200, metadata={dated: None} if dated else None)


def _cuts(cuts: "Cuts", figure: Any, axes: list[Any]) -> None:
    chosen = colors(sorted({name for cut in cuts.layers.values() for name in cut})) | {"clean": "black"}
    for axis, (layer, by_protector) in zip(axes, cuts.layers.items(), strict=False):
        axis.axvspan(-1, 1, color="0.92", zorder=0)
        for name, cut in by_protector.items():
            for line in cut.random:
                axis.plot(cut.distances, line, color=chosen[name], linewidth=0.4, linestyle=":")
            axis.plot(cut.distances, cut.gradient, color=chosen[name], linewidth=1.2, label=name)
        axis.set_title(layer, fontsize=8)
        axis.set_yscale("symlog", linthresh=0.01)
    for axis in axes[len(cuts.layers) :]:
        axis.set_axis_off()
    figure.supxlabel("distance along the gradient, in radii of SAL's ball (gray)", fontsize=8)
    figure.supylabel("change of the loss, nats", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)


def _maps(scene: "Scene", figure: Any, axes: Any) -> None:
    from matplotlib.colors import LogNorm

    low, high = (max(value, FLOOR) for value in scene.span)
    top = high if high > low else 2 * low
    norm = LogNorm(low, top)
    chosen, shown = of_paths(scene) | {"clean": "black"}, list(axes)
    for axis, panel in zip(shown, scene.panels, strict=False):
        values = [[max(value, FLOOR) if math.isfinite(value) else math.nan for value in row] for row in panel.loss]
        levels = [low * (top / low) ** (step / 12) for step in range(13)]
        mesh = axis.pcolormesh(
            panel.coordinates[1], panel.coordinates[0], values,
            norm=norm, cmap="viridis", shading="gouraud", rasterized=True,
        )  # fmt: skip
        axis.contour(panel.coordinates[1], panel.coordinates[0], values, levels, colors="white", linewidths=0.3)
        for name, path in panel.paths.items():
            axis.plot(
                [p[1] for p in path], [p[0] for p in path], "-o", markersize=2, linewidth=1.2,
                color=chosen[name], label=name,
            )  # fmt: skip
        axis.set_title(textwrap.fill(panel.title, ROW), fontsize=8)
    for axis in shown[len(scene.panels) :]:
        axis.set_axis_off()
    if scene.explained:
        first, second = (f"{100 * share:.0f} % of the paths" for share in scene.explained)
        figure.supylabel(f"first axis ({first})", fontsize=8)
        figure.supxlabel(f"second axis ({second})", fontsize=8)
    figure.colorbar(mesh, ax=shown, label="loss, nats")
    if scene.panels[0].paths:
        figure.legend(*shown[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)


def _lines(scene: "Scene", axis: Any) -> None:
    for number, panel in enumerate(scene.panels):
        axis.semilogy(
            panel.coordinates[0], [max(value, FLOOR) for value in panel.loss[0]],
            label=panel.title, **dict(zip(("color", "linestyle"), strokes(number), strict=True)),
        )  # fmt: skip
    axis.set_xlabel("from the clean network (0) to the other (1)")
    axis.set_ylabel("loss, nats")
    axis.legend(frameon=False, fontsize=7)
