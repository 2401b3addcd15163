"""The page's charts as plain plotly specifications; colors are safe for color-blind readers (Okabe and Ito)."""

import html
import math
from typing import TYPE_CHECKING, Any

from howfar.report.numbers import scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from howfar.tables.matrix import Column, Matrix, TaskResult
    from howfar.tables.page import Control, Group
    from howfar.tables.profiles import Profile

Figure = dict[str, Any]
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#999933", "#882255", "#44AA99")
CLEAN_COLOR = "#808080"
FLOOR = 1e-3  # nats; smaller SALs are drawn as this


def of_group(group: "Group") -> dict[str, Figure]:
    """Return convergence, alignment, UD and SAL of one victim and defense."""
    chosen = colors(series.protector for series in group.series)
    return {
        "convergence": convergence(group, chosen),
        **({"distance": distances(group, chosen), "sal": sal_maps(group)} if group.series[0].layers else {}),
        **({"alignment": alignment_maps(group)} if any(series.alignment for series in group.series[1:]) else {}),
        **{f"control-{number}": control(entry) for number, entry in enumerate(group.controls)},
    }


def colors(protectors: "Iterable[str]") -> dict[str, str]:
    """Return a color for every protector, in their order; clean is gray."""
    others = [name for name in protectors if name != "clean"]
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(others)} | {"clean": CLEAN_COLOR}


def convergence(group: "Group", colors: dict[str, str]) -> Figure:
    """Return quality on clean images per epoch: mean over seeds as a line, smallest to largest as a band."""
    traces: list[Figure] = []
    for series in group.series:
        epochs = list(range(1, len(series.quality) + 1))
        color, name = colors[series.protector], html.escape(series.protector)
        band = {"x": epochs + epochs[::-1], "y": series.high + series.low[::-1], "fill": "toself"}
        traces.append(
            {**band, "fillcolor": _faint(color), "line": {"width": 0}, "hoverinfo": "skip",
             "showlegend": False, "legendgroup": name, "type": "scatter", "mode": "lines"}
        )  # fmt: skip
        dash = "dash" if series.protector == "clean" else "solid"
        traces.append(
            {"x": epochs, "y": series.quality, "name": name, "legendgroup": name, "type": "scatter",
             "mode": "lines+markers", "line": {"color": color, "dash": dash}}
        )  # fmt: skip
    layout = blank("epoch", f"{group.metric} on clean {group.watched} images")
    most = max((len(series.quality) for series in group.series), default=1)
    layout["xaxis"] |= {"tick0": 1, "dtick": max(most // 8, 1)}  # whole epochs
    if scale(group.metric) > 1:
        layout["yaxis"]["range"] = [0, 1]
    layout["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": group.chance, "y1": group.chance,
         "line": {"dash": "dot", "width": 1, "color": CLEAN_COLOR}}
    ]  # fmt: skip
    return {"data": traces, "layout": layout}


def distances(group: "Group", colors: dict[str, str]) -> Figure:
    """Return UD as bars with intervals; the line at 1 is the clean model."""
    found = [(row, row.ud.mean) for row in group.rows if row.ud is not None and row.protector != "clean"]
    rows = sorted(found, key=lambda entry: entry[1].value)
    ends = [ud.ends or (ud.value, ud.value) for _, ud in rows]
    bar = {
        "type": "bar",
        "x": [html.escape(row.protector) for row, _ in rows],
        "y": [ud.value for _, ud in rows],
        "marker": {"color": [colors[row.protector] for row, _ in rows]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(high - ud.value, 0) for (_, ud), (_, high) in zip(rows, ends, strict=True)],
            "arrayminus": [max(ud.value - low, 0) for (_, ud), (low, _) in zip(rows, ends, strict=True)],
            "color": CLEAN_COLOR,
        },
        "hovertemplate": "%{x}: %{y:.2f}<extra></extra>",
    }
    layout = blank("", "UD (low is unlearnable)")
    layout["yaxis"]["rangemode"] = "tozero"
    layout["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1,
         "line": {"dash": "dot", "width": 1, "color": CLEAN_COLOR}}
    ]  # fmt: skip
    return {"data": [bar], "layout": layout}


def control(entry: "Control") -> Figure:
    """Return drop and UD along the amount of protection, with intervals over seeds."""
    response = entry.response
    traces = []
    for name, points, color in (("drop", response.drop, PALETTE[3]), ("UD", response.ud, PALETTE[5])):
        errors = [0.0 if one.low is None else one.value - one.low for one in points]
        traces.append(
            {"x": list(response.levels), "y": [one.value for one in points], "name": name, "type": "scatter",
             "mode": "lines+markers", "line": {"color": color}, "error_y": {"type": "data", "array": errors}}
        )  # fmt: skip
    layout = blank(html.escape(entry.along), "drop (1 is 100 points) and UD")
    if entry.along == "eps":
        layout["xaxis"] |= {
            "tickvals": list(response.levels),
            "ticktext": [f"{255 * x:g}/255" for x in response.levels],
        }
    return {"data": traces, "layout": layout}


def profile(entry: "Profile") -> Figure:
    """Return quality as a map, protector × defense; every field says its number."""
    values = [[row.get(name) for name in entry.defenses] for row in entry.quality.values()]
    return _map(entry.defenses, list(entry.quality), values, entry.metric)


def _map(
    columns: "Sequence[str]", rows: "Sequence[str]", values: list[list[float | None]], name: str,
    span: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    factor = scale(name)
    map_ = {
        "type": "heatmap",
        "x": [html.escape(column) for column in columns],
        "y": [html.escape(row) for row in rows],
        "z": values,
        "text": [
            ["" if v is None else f"{factor * v:z.0f}" if factor > 1 else f"{v:.2g}" for v in row] for row in values
        ],
        "texttemplate": "%{text}",
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": name}},
        "hovertemplate": "%{y}, %{x}: %{z:.3f}<extra></extra>",
        **({"zmin": span[0], "zmax": span[1]} if span else {}),
    }
    layout = blank("", "")
    layout["height"] = 140 + 26 * len(values)
    layout["margin"] = {"l": 130, "r": 10, "t": 10, "b": 110}
    layout["yaxis"] |= {"autorange": "reversed", "automargin": True}
    layout["xaxis"] |= {"tickangle": -45, "automargin": True}
    return {"data": [map_], "layout": layout}


def matrix(entry: "Matrix") -> Figure:
    """Return retention as a map, protector × task; every field says its number in percent."""
    tasks = [column.name for column in entry.columns]
    values = [[_kept(column, row.get(column.name)) for column in entry.columns] for row in entry.results.values()]
    return _map(tasks, list(entry.results), values, "retention", span=(0.0, 1.0))


def _kept(column: "Column", result: "TaskResult | None") -> float | None:
    """Return the retention; None where clean victims did not learn."""
    return result.retention.value if result and column.learned(result) else None


def similarity(entry: "Matrix") -> Figure:
    """Return, for every protector, how alike the SALs of two tasks are, and those of clean and protected training."""
    names = entry.alone
    rows = [f"{label}: {name}" for label in entry.alike for name in names]
    values: list[list[float | None]] = [list(row) for table in entry.alike.values() for row in table]
    return _map(names, rows, values, "cosine of SAL", span=(0.0, 1.0))


def sal_maps(group: "Group") -> Figure:
    """Return SAL on a logarithmic scale, layer × epoch, one map per protector, all on one color scale."""
    top = max(max(max(map(max, series.sal)) for series in group.series), FLOOR)
    maps = {
        series.protector: {
            "z": [[math.log10(max(value, FLOOR)) for value in layer] for layer in series.sal],
            "customdata": series.sal, "y": series.layers,
            "hovertemplate": "layer %{y}, epoch %{x}: %{customdata:.4f} nats<extra></extra>",
        }
        for series in group.series
    }  # fmt: skip
    return _layer_maps(maps, _scale(top))


def alignment_maps(group: "Group") -> Figure:
    """Return the alignment of protected with clean gradients, layer × epoch, one map per protector."""
    maps = {
        series.protector: {
            "z": list(series.alignment.values()), "y": list(series.alignment),
            "hovertemplate": "layer %{y}, epoch %{x}: cosine %{z:.2f}<extra></extra>",
        }
        for series in group.series if series.alignment and series.protector != "clean"
    }  # fmt: skip
    bar = {"title": {"text": "cosine"}}
    return _layer_maps(maps, {"colorscale": "RdBu", "cmin": -1, "cmax": 1, "colorbar": bar})


def _layer_maps(maps: dict[str, Figure], scale: Figure) -> Figure:
    """Return maps of layers × epochs side by side, by protector."""
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    layout = blank("", "")
    layout |= {"height": 60 + 190 * rows, "annotations": [], "coloraxis": scale, "showlegend": False}
    layout["margin"] = {"l": 100, "r": 10, "t": 30, "b": 40}
    traces = []
    for index, (protector, values) in enumerate(maps.items()):
        row, column = divmod(index, columns)
        suffix = "" if index == 0 else str(index + 1)
        left, width = column / columns, 1 / columns
        bottom, height = 1 - (row + 1) / rows, 1 / rows
        middle = left + width * 0.46
        epochs = len(values["z"][0])
        layout[f"xaxis{suffix}"] = {
            "domain": [left, left + width * 0.92],
            "anchor": f"y{suffix}",
            "dtick": max(epochs // 5, 1),
        }
        layout[f"yaxis{suffix}"] = {
            "domain": [bottom + height * 0.1, bottom + height * 0.85],
            "anchor": f"x{suffix}",
            "autorange": "reversed",
            "showticklabels": column == 0,
            "tickfont": {"size": 9},
        }
        layout["annotations"].append(
            {"text": html.escape(protector), "x": middle, "y": bottom + height * 0.86, "xref": "paper",
             "yref": "paper", "showarrow": False, "yanchor": "bottom", "xanchor": "center"}
        )  # fmt: skip
        traces.append(
            {**values, "type": "heatmap", "x": list(range(1, epochs + 1)),
             "y": [html.escape(_short(name)) for name in values["y"]], "coloraxis": "coloraxis",
             "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        )  # fmt: skip
    return {"data": traces, "layout": layout}


def _scale(top: float) -> Figure:
    ticks = list(range(round(math.log10(FLOOR)), math.ceil(math.log10(top)) + 1))
    bar = {
        "title": {"text": "SAL, nats"},
        "tickvals": ticks,
        "ticktext": [f"{10.0**tick:g}" for tick in ticks],
    }
    return {"colorscale": "Viridis", "cmin": ticks[0], "cmax": math.log10(top), "colorbar": bar}


def _short(name: str) -> str:
    return name.removesuffix(".weight").replace("stages.", "s")


def _faint(color: str) -> str:
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def blank(x: str = "", y: str = "") -> Figure:
    """Return the layout that all charts share, with the titles of the axes."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": CLEAN_COLOR},
        "margin": {"l": 55, "r": 10, "t": 10, "b": 45},
        "xaxis": {"title": {"text": x}, "gridcolor": "rgba(128,128,128,0.2)", "zeroline": False},
        "yaxis": {"title": {"text": y}, "gridcolor": "rgba(128,128,128,0.2)", "zeroline": False},
        "legend": {"orientation": "h", "y": -0.2},
        "height": 340,
    }
