"""Ray casting against boxes, ellipsoids, cylinders and the shell of a room.

Here and in all code that makes pixels, arithmetic is limited to operations that IEEE 754 defines exactly, so that rooms
are the same on all processors: no matrix products, powers or sines of arrays, whose last bits vary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.data.rooms.parts import Part

Floats = NDArray[np.float32]
FAR = np.float32(1e6)
NEAR = np.float32(1e-3)  # m; nearer hits are the surface that a ray starts from
PIECE = 2048  # rays at a time, so that rays × parts fits into the processor's cache


@dataclass(frozen=True)
class Hits:
    """Intersections of rays with the room.

    Attributes:
        distance: along the ray, m, (rays,).
        part: index of the part, or −1, −2, −3 for wall, floor and ceiling, (rays,).
        normal: unit, toward the viewer, (rays, 3).
        local: position in the part's own coordinates, m, (rays, 3), for its texture.
    """

    distance: Floats
    part: NDArray[np.int64]
    normal: Floats
    local: Floats


class Caster:
    """Intersections of rays with boxes, ellipsoids and upright cylinders, and with the shell of the room.

    Args:
        parts: in any order.
        size: width, depth and height of the room, m.
    """

    def __init__(self, parts: Sequence[Part], size: Floats) -> None:
        self.parts, self.size = parts, size
        self.kinds = {kind: np.array([i for i, p in enumerate(parts) if p.kind == kind], np.int64)
                      for kind in ("box", "ellipsoid", "cylinder")}  # fmt: skip
        self.centers = np.array([p.center for p in parts], np.float32).reshape(-1, 3)
        self.halves = np.maximum(np.array([p.half for p in parts], np.float32).reshape(-1, 3), 1e-3)
        self.cos, self.sin = (np.array([turn(p.yaw) for p in parts], np.float32) for turn in (math.cos, math.sin))

    def nearest(self, origin: Floats, rays: Floats) -> Hits:
        """Return the first intersection on every ray.

        Args:
            origin: (3,), inside the room.
            rays: unit directions, (rays, 3).
        """
        distance, part = self._shell(origin, rays)
        for piece, index, entry in self._entries(origin, rays):
            best = entry.argmin(0)
            reached = entry[best, np.arange(len(best))]
            closer = reached < distance[piece]
            distance[piece] = np.where(closer, reached, distance[piece])
            part[piece] = np.where(closer, index[best], part[piece])
        return self._described(origin, rays, distance, part)

    def blocked(self, origins: Floats, target: Floats) -> NDArray[np.bool_]:
        """Return whether a part lies between each origin, (rays, 3), and a target, (3,)."""
        way = target - origins
        length = np.linalg.norm(way, axis=1)
        found = np.zeros(len(origins), bool)
        # From the target outwards: one origin for all rays, as for the camera.
        for piece, _, entry in self._entries(target, (-way / length[:, None]).astype(np.float32)):
            found[piece] |= entry.min(0) < length[piece] - 0.02
        return found

    def _shell(self, origin: Floats, rays: Floats) -> tuple[Floats, NDArray[np.int64]]:
        with np.errstate(divide="ignore", invalid="ignore"):
            exits = np.where(rays > 0, self.size - origin, -origin) / rays
        exits = np.where(rays == 0, FAR, exits)
        axis = exits.argmin(1)
        part = np.where(axis < 2, -1, np.where(rays[:, 2] < 0, -2, -3))
        return exits[np.arange(len(rays)), axis].astype(np.float32), part

    def _entries(self, origin: Floats, rays: Floats) -> Iterator[tuple[slice, NDArray[np.int64], Floats]]:
        """Yield entry distances, (parts, rays), by kind of part and chunk of rays; ``FAR`` without intersection."""
        columns = np.ascontiguousarray(rays.T)
        for kind, enter in (("box", _enter_boxes), ("ellipsoid", _enter_ellipsoids), ("cylinder", _enter_cylinders)):
            index = self.kinds[kind]
            if not len(index):
                continue
            c, s = self.cos[index, None], self.sin[index, None]
            x, y, z = (origin - self.centers[index]).T[:, :, None]
            at, half = [c * x + s * y, c * y - s * x, z], list(self.halves[index].T[:, :, None])
            for first in range(0, len(rays), PIECE):
                piece = slice(first, first + PIECE)
                x, y, z = columns[:, None, piece]
                yield piece, index, enter(at, [c * x + s * y, c * y - s * x, z], half)

    def _described(self, origin: Floats, rays: Floats, distance: Floats, part: NDArray[np.int64]) -> Hits:
        points = origin + distance[:, None] * rays
        normal = np.zeros_like(points)
        local = points.copy()
        shell = part < 0
        exits = np.minimum(points, self.size - points)[shell]
        normal[np.flatnonzero(shell), exits.argmin(1)] = 1.0
        normal[shell] *= np.sign(self.size / 2 - points[shell])
        inside = ~shell
        index = part[inside]
        away = points[inside] - self.centers[index]
        c, s, half = self.cos[index], self.sin[index], self.halves[index]
        own = np.stack([c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0], away[:, 2]], 1)
        local[inside] = own
        own_normal = _normals(own, half, np.array([_KINDS[p.kind] for p in self.parts], np.int64)[index])
        normal[inside] = np.stack(
            [
                c * own_normal[:, 0] - s * own_normal[:, 1],
                s * own_normal[:, 0] + c * own_normal[:, 1],
                own_normal[:, 2],
            ],
            1,
        )
        return Hits(distance, part, normal.astype(np.float32), local.astype(np.float32))


_KINDS = {"box": 0, "ellipsoid": 1, "cylinder": 2}


def _enter_boxes(at: Sequence[Floats], along: Sequence[Floats], half: Sequence[Floats]) -> Floats:
    """Slab method: the last entry, if it precedes the first exit."""
    entry = np.full(np.broadcast_shapes(at[0].shape, along[0].shape), -FAR)
    leave = -entry
    for a, d, h in zip(at, along, half, strict=True):
        inverse = 1 / np.where(np.abs(d) < 1e-9, np.float32(1e-9), d)
        middle, width = -a * inverse, h * np.abs(inverse)
        np.maximum(entry, middle - width, out=entry)
        np.minimum(leave, np.add(middle, width, out=middle), out=leave)
    entry[(entry >= leave) | (entry <= NEAR)] = FAR
    return entry


def _enter_ellipsoids(at: Sequence[Floats], along: Sequence[Floats], half: Sequence[Floats]) -> Floats:
    """The smaller root of the quadratic."""
    return _first_root(at, along, half, axes=3)


def _enter_cylinders(at: Sequence[Floats], along: Sequence[Floats], half: Sequence[Floats]) -> Floats:
    """The lateral surface between the caps, or a cap inside it."""
    mantle = _first_root(at, along, half, axes=2)
    height = at[2] + mantle * along[2]
    mantle = np.where(np.abs(height) <= half[2], mantle, FAR)
    rise = np.where(np.abs(along[2]) < 1e-9, np.float32(1e-9), along[2])
    cap = (-np.sign(rise) * half[2] - at[2]) / rise
    round_ = sum(((at[k] + cap * along[k]) / half[k]) ** 2 for k in range(2))
    cap = np.where((round_ <= 1) & (cap > NEAR), cap, FAR)
    return np.minimum(mantle, cap)


def _first_root(at: Sequence[Floats], along: Sequence[Floats], half: Sequence[Floats], *, axes: int) -> Floats:
    a = sum((along[k] / half[k]) ** 2 for k in range(axes))
    b = sum(at[k] * along[k] / half[k] ** 2 for k in range(axes))
    c = sum((at[k] / half[k]) ** 2 for k in range(axes)) - 1
    root = b * b - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        entry = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root > 0) & (entry > NEAR), entry, FAR).astype(np.float32)


def _normals(own: Floats, half: Floats, kind: NDArray[np.int64]) -> Floats:
    """Return outward unit normals in each part's own axes."""
    face = np.abs(own) / half
    flat = np.zeros_like(own)
    rows = np.arange(len(own))
    axis = face.argmax(1)
    flat[rows, axis] = np.sign(own[rows, axis])
    smooth = own / half**2
    mantle = smooth * np.array([1, 1, 0], np.float32)
    on_cap = face[:, 2:] > 0.999
    cap = np.zeros_like(own)
    cap[:, 2] = np.sign(own[:, 2])
    upright = np.where(on_cap & (np.linalg.norm(face[:, :2], axis=1, keepdims=True) < 0.999), cap, mantle)
    normal = np.where(kind[:, None] == 0, flat, np.where(kind[:, None] == 1, smooth, upright))
    unit: Floats = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return unit
