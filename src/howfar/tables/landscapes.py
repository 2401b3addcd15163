"""Records of loss landscapes -> their surfaces as numbers; ``report.landscapes`` draws them."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from howfar.arrays import canonical
from howfar.score.estimate import to_json
from howfar.spec.suffixes import distinguishing_suffixes
from howfar.store import Record, Store
from howfar.tables.sound import sound_records

Grid = list[list[float]]
PLANES = {
    "pca": "PCA plane of all paths", "random": "random directions, filter-normalized", "line": "line between networks",
    "curve": "curved path between networks", "hessian": "leading Hessian directions of a layer",
    "weights": "two weights",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One surface, or one line.

    Attributes:
        title: around which network, on which images.
        coordinates: of the grid, one list an axis; of a line one list.
        loss: nats for classification; (first axis, second axis), or (1, places) of a line.
        quality: the task's metric, likewise.
        paths: places that networks went through on this plane, (moments, axes), by protector.
        off_plane: share of each path's squared length that lies off the plane.
    """

    title: str
    coordinates: list[list[float]]
    loss: Grid
    quality: Grid
    paths: dict[str, Grid]
    off_plane: dict[str, float]

    @property
    def flat(self) -> bool:
        """Whether this is a line."""
        return len(self.loss) == 1


@dataclass(frozen=True)
class Scene:
    """All surfaces around one victim, with one seed.

    Attributes:
        title: data set, task, victim, seed.
        plane: through what.
        norms: what batch normalization did.
        metric: what the quality is.
        images: how many the loss is the mean over.
        explained: share of the spread of all paths that each axis of a PCA plane shows.
        panels: the surfaces.
    """

    title: str
    plane: str
    norms: str
    metric: str
    images: int
    explained: list[float]
    panels: list[Panel]

    @property
    def span(self) -> tuple[float, float]:
        """The least and the largest loss of all surfaces, for one scale."""
        values = [value for panel in self.panels for row in panel.loss for value in row if math.isfinite(value)]
        return min(values), max(values)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; a loss that is not finite becomes null."""
        found = asdict(self)
        for panel in found["panels"]:
            panel["missed"] = panel.pop("off_plane")
        written: dict[str, Any] = to_json(found)
        return written


def scenes(store: Store, keys: Iterable[str] | None = None) -> list[Scene]:
    """Return one entry per victim, seed and view, from finished surfaces.

    Args:
        store: where the surfaces are.
        keys: of those that count; None takes all whose arrays are there.
    """
    wanted = None if keys is None else set(keys)
    found: dict[tuple[str, str], list[Record]] = {}
    for record in sound_records(store, "landscape"):
        if (wanted is None or record.key in wanted) and store.complete("landscape", record.key):
            found.setdefault((canonical(record.spec["scene"]), _version(record)), []).append(record)
    apart = distinguishing_suffixes((scene, {"version": version}) for scene, version in found)
    return [
        _scene(store, records, apart[scene, canonical({"version": version})])
        for (scene, version), records in sorted(found.items())
    ]


def _version(record: Record) -> str:
    """Return the version of the step that computed a surface."""
    return canonical(record.spec.get("version"))


def _scene(store: Store, records: list[Record], suffix: str) -> Scene:
    about = records[0].spec["scene"]
    view = about["view"]
    order = list(about["trajectories"])
    records.sort(key=lambda r: (r.spec["panel"]["draw"], order.index(r.spec["panel"]["around"]), _place(r, order)))
    return Scene(
        title=f"{about['dataset']} · {about['task']} · {about['model']} · seed {about['seed']}{suffix}",
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
    images = "clean test images" if about["on"] == "test" else f"{about['on']} training images"
    around = {"pca": "", "weights": "", "line": f"to {about['around']}: ", "curve": f"to {about['around']}: "}
    draw = f" ({about['draw'] + 1})" if plane == "random" else ""
    values = store.arrays("landscape", record.key)
    rows = [values[name].tolist() for name in sorted(values) if name.startswith("coordinates_")]
    flat = values["loss"].ndim == 1
    if plane == "curve":
        rows = [[step / (len(rows[0]) - 1) for step in range(len(rows[0]))]]
    return Panel(
        title=around.get(plane, f"around {about['around']}{draw}: ") + images,
        coordinates=rows,
        loss=[values["loss"].tolist()] if flat else values["loss"].tolist(),
        quality=[values["quality"].tolist()] if flat else values["quality"].tolist(),
        paths=record.result["paths"],
        off_plane=record.result["missed"],
    )
