"""Surfaces of the loss, as numbers that page, paper and other tools can show."""

import math
from dataclasses import asdict, dataclass
from typing import Any

Grid = list[list[float]]


def finite(values: Grid) -> list[list[float | None]]:
    """Return values with gaps where a number has no JSON."""
    return [[value if math.isfinite(value) else None for value in row] for row in values]


@dataclass(frozen=True)
class Panel:
    """One surface, or one line.

    Attributes:
        title: around which network, on which images.
        coordinates: of the grid, one list an axis; of a line one list.
        loss: nats for classification; (first axis, second axis), or (1, places) of a line.
        quality: the task's metric, likewise.
        paths: places that networks went through on this plane, (moments, axes), by protector.
        missed: share of each path's squared length that the plane does not show.
    """

    title: str
    coordinates: list[list[float]]
    loss: Grid
    quality: Grid
    paths: dict[str, Grid]
    missed: dict[str, float]

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
        norms: what batch normalisation did.
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
    def note(self) -> str:
        """What has to be known to read it."""
        parts = [f"{self.plane}; batch normalisation {self.norms}; {self.images} images"]
        if self.explained:
            parts.append(
                f"the axes show {' and '.join(f'{100 * share:.0f} %' for share in self.explained)} of the paths"
            )
        missed = [f"{name} {100 * share:.0f} %" for name, share in self.panels[0].missed.items()]
        if missed:
            parts.append(f"off the plane lie: {', '.join(missed)}")
        return "; ".join(parts)

    @property
    def span(self) -> tuple[float, float]:
        """The least and the largest loss of all surfaces, for one scale."""
        values = [value for panel in self.panels for row in panel.loss for value in row if math.isfinite(value)]
        return min(values), max(values)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; a loss that is not finite becomes null."""
        found = asdict(self)
        for panel in found["panels"]:
            for kind in ("loss", "quality"):
                panel[kind] = finite(panel[kind])
        return found


@dataclass(frozen=True)
class Cut:
    """The loss along lines through one layer of one network.

    Attributes:
        distances: from where the network stands, in radii of SAL's ball.
        gradient: change of the loss along the gradient, nats.
        random: the same along random directions, (directions, distances).
    """

    distances: list[float]
    gradient: list[float]
    random: Grid


@dataclass(frozen=True)
class Cuts:
    """Cuts through every layer of some networks of one victim and seed.

    Attributes:
        title: victim and seed.
        layers: by layer and protector.
    """

    title: str
    layers: dict[str, dict[str, Cut]]
