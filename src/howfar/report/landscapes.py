"""Loss landscapes as plotly specifications for the page, and as arrays for other tools."""

import html
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from howfar.report.figures import PALETTE, Figure, blank, colors
from howfar.score.estimate import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from howfar.tables.landscapes import Panel, Scene

FLOOR = 1e-4  # nats; smaller losses are drawn as this
ABREAST = 3  # surfaces side by side


def note(entry: "Scene") -> str:
    """Return what a reader has to know of a scene: plane, batch normalization, images and what is off the plane."""
    parts = [f"{entry.plane}; batch normalization {entry.norms}; {entry.images} images"]
    if entry.explained:
        parts.append(f"the axes show {' and '.join(f'{100 * share:.0f} %' for share in entry.explained)} of the paths")
    off = [f"{name} {100 * share:.0f} %" for name, share in entry.panels[0].off_plane.items()]
    if off:
        parts.append(f"off the plane lie: {', '.join(off)}")
    return "; ".join(parts)


def of_paths(scene: "Scene") -> dict[str, str]:
    """Return a color for every path."""
    return colors(sorted({name for panel in scene.panels for name in panel.paths}))


def strokes(number: int, kinds: tuple[str, str, str] = ("-", "--", ":")) -> tuple[str, str]:
    """Return color and dash of a line: a color for each network, a dash for each of the three sets of images."""
    return PALETTE[number // 3 % len(PALETTE)], kinds[number % 3]


def scene(entry: "Scene") -> Figure:
    """Return all surfaces of a scene side by side, on one logarithmic scale, with the paths; lines as lines."""
    return _lines(entry) if entry.panels[0].flat else _maps(entry)


def relief(entry: "Scene") -> Figure | None:
    """Return the first surface in space, with the paths on it; None of lines."""
    panel = entry.panels[0]
    if panel.flat:
        return None
    heights, chosen = _heights(panel.loss), of_paths(entry)
    traces: list[Figure] = [
        {"type": "surface", "x": panel.coordinates[1], "y": panel.coordinates[0], "z": heights, "opacity": 0.85,
         "colorscale": "Viridis", "colorbar": {"title": {"text": "log₁₀ loss"}}, "customdata": to_json(panel.loss),
         "hovertemplate": "loss %{customdata:.3g} nats<extra></extra>"}
    ]  # fmt: skip
    for name, path in panel.paths.items():
        above = [_height_at(panel, heights, place) + 0.03 for place in path]
        traces.append(
            {"type": "scatter3d", "x": [p[1] for p in path], "y": [p[0] for p in path], "z": above,
             "mode": "lines+markers", "marker": {"size": 3}, "line": {"width": 6, "color": chosen[name]},
             "name": html.escape(name)}
        )  # fmt: skip
    layout = blank()
    names = {"xaxis": "second axis", "yaxis": "first axis", "zaxis": "log₁₀ loss"}
    layout |= {"height": 560, "scene": {axis: {"title": {"text": name}} for axis, name in names.items()}}
    return {"data": traces, "layout": layout}


def _maps(entry: "Scene") -> Figure:
    count = len(entry.panels)
    across = min(count, ABREAST)
    down = math.ceil(count / across)
    low, high = (math.log10(max(value, FLOOR)) for value in entry.span)
    layout = blank()
    layout |= {
        "height": 80 + 300 * down, "annotations": [],
        "coloraxis": {
            "colorscale": "Viridis", "cmin": low, "cmax": high, "colorbar": {"title": {"text": "log₁₀ loss"}},
        },
    }  # fmt: skip
    traces: list[Figure] = []
    chosen = of_paths(entry)
    for number, panel in enumerate(entry.panels):
        row, column = divmod(number, across)
        suffix = "" if number == 0 else str(number + 1)
        left, top = column / across, 1 - row / down
        layout[f"xaxis{suffix}"] = {"domain": [left, left + 0.9 / across], "anchor": f"y{suffix}"}
        layout[f"yaxis{suffix}"] = {"domain": [top - 0.82 / down, top - 0.06 / down], "anchor": f"x{suffix}"}
        layout["annotations"].append(
            {"text": html.escape(panel.title), "x": left + 0.45 / across, "y": top - 0.05 / down, "xref": "paper",
             "yref": "paper", "showarrow": False, "xanchor": "center", "yanchor": "bottom"}
        )  # fmt: skip
        where = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        traces.append(
            {"type": "contour", "x": panel.coordinates[1], "y": panel.coordinates[0], "z": _heights(panel.loss),
             "customdata": to_json(panel.loss), "coloraxis": "coloraxis", "contours": {"coloring": "heatmap"},
             "line": {"width": 0.5},
             "hovertemplate": "loss %{customdata:.3g} nats<extra></extra>", **where}
        )  # fmt: skip
        for name, path in panel.paths.items():
            traces.append(
                {"type": "scatter", "x": [p[1] for p in path], "y": [p[0] for p in path], "mode": "lines+markers",
                 "marker": {"size": 4}, "line": {"color": chosen[name], "width": 2}, "name": html.escape(name),
                 "legendgroup": html.escape(name), "showlegend": number == 0, **where}
            )  # fmt: skip
    layout["legend"] = {"orientation": "h", "y": -0.08}
    return {"data": traces, "layout": layout}


def _lines(entry: "Scene") -> Figure:
    traces: list[Figure] = [
        {"type": "scatter", "mode": "lines", "x": panel.coordinates[0], "y": to_json(panel.loss)[0],
         "customdata": to_json(panel.quality)[0], "name": html.escape(panel.title),
         "line": dict(zip(("color", "dash"), strokes(number, ("solid", "dash", "dot")), strict=True)),
         "hovertemplate": f"loss %{{y:.3g}} nats, {html.escape(entry.metric)} %{{customdata:.3f}}<extra></extra>"}
        for number, panel in enumerate(entry.panels)
    ]  # fmt: skip
    layout = blank("from the clean network (0) to the other (1)", "loss, nats")
    layout["yaxis"]["type"] = "log"
    layout["height"] = 420
    return {"data": traces, "layout": layout}


def _heights(values: list[list[float]]) -> list[list[float | None]]:
    return [[math.log10(max(v, FLOOR)) if math.isfinite(v) else None for v in row] for row in values]


def _height_at(panel: "Panel", heights: list[list[float | None]], place: list[float]) -> float:
    """Return the height of the nearest place of the grid."""
    first, second = (_nearest(row, value) for row, value in zip(panel.coordinates, place, strict=True))
    return heights[first][second] or 0.0


def _nearest(row: list[float], value: float) -> int:
    return min(range(len(row)), key=lambda index: abs(row[index] - value))


def as_npz(found: "Sequence[Scene]") -> bytes:
    """Return the grids of all scenes as one .npz: ``SCENE_PANEL_loss``, ``_quality``, ``_axis0``, ``_axis1``, paths."""
    values: dict[str, Any] = {}
    for i, entry in enumerate(found):
        for j, panel in enumerate(entry.panels):
            start = f"{i}_{j}"
            values |= {f"{start}_title": np.array(f"{entry.title}: {panel.title}")}
            values |= {f"{start}_loss": np.array(panel.loss), f"{start}_quality": np.array(panel.quality)}
            values |= {f"{start}_axis{axis}": np.array(row) for axis, row in enumerate(panel.coordinates)}
            values |= {f"{start}_path_{name}": np.array(places) for name, places in panel.paths.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **values)
    return file.getvalue()
