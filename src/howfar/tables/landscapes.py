"""Records of surfaces -> scenes for the page, for figures and for other tools."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from howfar.arrays import canonical
from howfar.report.scenery import Panel, Scene
from howfar.store import Record, Store
from howfar.tables.schema import sound_records

PLANES = {
    "pca": "PCA plane of all paths", "random": "random directions, filter-normalised", "line": "line between networks",
    "curve": "curved path between networks", "hessian": "leading Hessian directions of a layer",
    "weights": "two weights",
}  # fmt: skip


def scenes(store: Store, keys: Iterable[str] | None = None) -> list[Scene]:
    """Return one entry a victim, seed and view, from finished surfaces.

    Args:
        store: where the surfaces are.
        keys: of those that count; None takes all whose arrays are there.
    """
    wanted = None if keys is None else set(keys)
    found: dict[str, list[Record]] = {}
    for record in sound_records(store, "landscape"):
        if (wanted is None or record.key in wanted) and store.whole("landscape", record.key):
            found.setdefault(canonical(record.spec["scene"]), []).append(record)
    return [_scene(store, records) for _, records in sorted(found.items())]


def _scene(store: Store, records: list[Record]) -> Scene:
    about = records[0].spec["scene"]
    view = about["view"]
    order = list(about["trajectories"])
    records.sort(key=lambda r: (r.spec["panel"]["draw"], order.index(r.spec["panel"]["around"]), _place(r, order)))
    return Scene(
        title=f"{about['dataset']} · {about['task']} · {about['model']} · seed {about['seed']}",
        plane=PLANES[view["plane"]]
        + (f" ({view['layer'] or view['weights']})" if view["layer"] or view["weights"] else ""),
        norms=view["norms"],
        metric=records[0].result["metric"],
        images=view["images"],
        explained=records[0].result["explained"],
        panels=[_panel(store, record, view["plane"]) for record in records],
    )


def _place(record: Record, order: list[str]) -> int:
    on = record.spec["panel"]["on"]
    return -1 if on == "test" else order.index(on)


def _panel(store: Store, record: Record, plane: str) -> Panel:
    about = record.spec["panel"]
    seen = "clean test images" if about["on"] == "test" else f"{about['on']} training images"
    around = {"pca": "", "weights": "", "line": f"to {about['around']}: ", "curve": f"to {about['around']}: "}
    draw = f" ({about['draw'] + 1})" if plane == "random" else ""
    values = store.arrays("landscape", record.key)
    rows = [values[name].tolist() for name in sorted(values) if name.startswith("coordinates_")]
    flat = values["loss"].ndim == 1
    if plane == "curve":
        rows = [[step / (len(rows[0]) - 1) for step in range(len(rows[0]))]]
    return Panel(
        title=around.get(plane, f"around {about['around']}{draw}: ") + seen,
        coordinates=rows,
        loss=[values["loss"].tolist()] if flat else values["loss"].tolist(),
        quality=[values["quality"].tolist()] if flat else values["quality"].tolist(),
        paths=record.result["paths"],
        missed=record.result["missed"],
    )


def as_npz(found: Sequence[Scene]) -> bytes:
    """Return the grids of all scenes as one .npz: ``SCENE_PANEL_loss``, ``_quality``, ``_axis0``, ``_axis1``, paths."""
    values: dict[str, Any] = {}
    for i, scene in enumerate(found):
        for j, panel in enumerate(scene.panels):
            start = f"{i}_{j}"
            values |= {f"{start}_title": np.array(f"{scene.title}: {panel.title}")}
            values |= {f"{start}_loss": np.array(panel.loss), f"{start}_quality": np.array(panel.quality)}
            values |= {f"{start}_axis{axis}": np.array(row) for axis, row in enumerate(panel.coordinates)}
            values |= {f"{start}_path_{name}": np.array(places) for name, places in panel.paths.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **values)
    return file.getvalue()
