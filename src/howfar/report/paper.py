"""Surfaces of the loss as a figure for a paper: PDF, SVG or PNG."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howfar.errors import UsageError
from howfar.report.figures import PALETTE
from howfar.report.surfaces import ABREAST, FLOOR, colours

if TYPE_CHECKING:
    from howfar.report.scenery import Scene

KINDS = (".pdf", ".svg", ".png")
WIDTH = 2.3  # inches a surface


def check_figure(path: Path) -> None:
    """Raise ``UsageError`` unless a figure of this name can be written."""
    if path.suffix not in KINDS:
        raise UsageError(f"{path}: a figure ends in {', '.join(KINDS)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("figures need matplotlib. Install it: pip install 'howfar[figures]'.") from None


def save(scene: "Scene", path: Path) -> None:
    """Write all surfaces of a scene side by side, on one logarithmic scale, with the paths; lines as lines.

    The text of a PDF or SVG stays text, and the colours are safe for colour-blind readers.
    """
    check_figure(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "font.size": 8, "svg.hashsalt": "howfar"}
    with mpl.rc_context(style):
        flat = scene.panels[0].flat
        across = 1 if flat else min(len(scene.panels), ABREAST)
        down = 1 if flat else math.ceil(len(scene.panels) / across)
        size = (5.0, 3.2) if flat else (WIDTH * across + 0.8, WIDTH * down + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(down, across, squeeze=False)
        if flat:
            _lines(scene, axes[0, 0])
        else:
            _maps(scene, figure, axes.flat)
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)


def _maps(scene: "Scene", figure: Any, axes: Any) -> None:
    from matplotlib.colors import LogNorm

    low, high = (max(value, FLOOR) for value in scene.span)
    top = high if high > low else 2 * low
    norm = LogNorm(low, top)
    chosen, shown = colours(scene), list(axes)
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
                color="black" if name == "clean" else chosen[name], label=name,
            )  # fmt: skip
        axis.set_title(panel.title, fontsize=8)
    for axis in shown[len(scene.panels) :]:
        axis.set_axis_off()
    if scene.explained:
        first, second = (f"{100 * share:.0f} % of the paths" for share in scene.explained)
        figure.supylabel(f"first axis ({first})", fontsize=8)
        figure.supxlabel(f"second axis ({second})", fontsize=8)
    figure.colorbar(mesh, ax=shown, label="loss, nats")
    if scene.panels[0].paths:
        figure.legend(*shown[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


def _lines(scene: "Scene", axis: Any) -> None:
    for number, panel in enumerate(scene.panels):
        axis.semilogy(
            panel.coordinates[0], [max(value, FLOOR) for value in panel.loss[0]],
            label=panel.title, color=PALETTE[number % len(PALETTE)],
        )  # fmt: skip
    axis.set_xlabel("from the clean network (0) to the other (1)")
    axis.set_ylabel("loss, nats")
    axis.legend(frameon=False, fontsize=7)
