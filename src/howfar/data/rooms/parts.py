"""Parts of rooms: solids in meters, each with a class and a material."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from numpy.random import Generator

CLASSES = (
    "wall", "floor", "ceiling", "window", "door", "picture", "bed", "sofa", "chair", "table", "cabinet", "lamp",
    "screen", "sanitary", "appliance", "plant",
)  # fmt: skip
OBJECTS = CLASSES[6:]  # classes of `class_object`; windows, doors and pictures are in any room
PATTERNS = (0.4, 0.52, 0.68, 0.84, 1.0)  # cumulative shares of plain, checks, stripes, grain, speckle

Kind = Literal["box", "ellipsoid", "cylinder"]
Real = float | int
Triple = tuple[Real, Real, Real]


@dataclass(frozen=True)
class Material:
    """Two colors and a solid texture of them.

    Attributes:
        colors: two RGB triples in [0, 1].
        pattern: 0 plain, 1 checks, 2 stripes, 3 grain, 4 speckle.
        scale: size of the pattern, m.
        phase: where it starts, m.
        axis: direction of stripes and grain.
    """

    colors: tuple[Triple, Triple]
    pattern: int
    scale: float
    phase: Triple
    axis: int

    @classmethod
    def drawn(cls, rng: Generator) -> "Material":
        """Return a random material, independent of object and scene class."""
        draws = rng.random(12).tolist()
        pattern = next(k for k, end in enumerate(PATTERNS) if draws[0] < end)
        # Any hue, mostly pale.
        colors = (_color(*draws[1:4]), _color(*draws[4:7]))
        phase = (draws[7], draws[8], draws[9])
        return cls(colors, pattern, 0.08 + 0.42 * draws[10], phase, int(3 * draws[11]))


def _color(hue: float, pale: float, light: float) -> Triple:
    return colorsys.hsv_to_rgb(hue, pale**2, 0.25 + 0.7 * light)


@dataclass(frozen=True)
class Part:
    """One solid.

    Attributes:
        kind: box, ellipsoid or upright cylinder.
        center: x, y, z in meters; z is up.
        half: half extents along its own axes.
        name: one of ``CLASSES``.
        material: of the surface.
        yaw: rotation about the vertical axis, radians.
    """

    kind: Kind
    center: Triple
    half: Triple
    name: str
    material: Material
    yaw: float = 0.0

    def moved(self, x: Real, y: Real, z: Real = 0.0, yaw: Real = 0.0) -> "Part":
        """Return the part rotated about the origin, then translated."""
        c, s = math.cos(yaw), math.sin(yaw)
        px, py, pz = self.center
        return replace(self, center=(c * px - s * py + x, s * px + c * py + y, pz + z), yaw=self.yaw + yaw)


@dataclass(frozen=True)
class Piece:
    """A piece of furniture with its back at y = 0, centered at x = 0.

    Attributes:
        parts: its solids.
        width: along the wall, m.
        depth: into the room, m.
    """

    parts: tuple[Part, ...]
    width: float
    depth: float

    def at(self, x: Real, y: Real, yaw: Real) -> list[Part]:
        """Return its parts in the room."""
        return [part.moved(x, y, yaw=yaw) for part in self.parts]


def box(name: str, material: Material, x: Sequence[Real], y: Sequence[Real], z: Sequence[Real]) -> Part:
    """Return a box from its two ends along each axis, m."""
    ends = (x, y, z)
    low, high = ([float(end[side]) for end in ends] for side in (0, 1))
    center = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    return Part("box", center, half, name, material)  # type: ignore[arg-type]


def rounded(kind: Kind, name: str, material: Material, center: Triple, half: Triple) -> Part:
    """Return an ellipsoid or cylinder."""
    return Part(kind, center, half, name, material)


def legs(name: str, material: Material, width: float, depth: float, top: float, *, thick: float = 0.04) -> list[Part]:
    """Return four legs in the corners of a rectangle from y = 0 to ``depth``."""
    w, t = width / 2, thick
    return [
        box(name, material, (x, x + t), (y, y + t), (0, top)) for x in (-w, w - t) for y in (0.0, depth - t)
    ]  # fmt: skip
