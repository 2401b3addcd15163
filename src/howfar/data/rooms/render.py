"""Rendering of rooms: color, class, depth and normal of every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.data.rooms.cast import Caster, Floats, Hits
from howfar.data.rooms.layout import Room
from howfar.data.rooms.parts import CLASSES, Material


@dataclass(frozen=True)
class View:
    """A rendered image with its ground truth; all maps are (size, size).

    Attributes:
        image: (3, size, size), in [0, 1].
        segment: index in ``CLASSES``.
        depth_euclidean: distance to the camera, m.
        depth_zbuffer: distance to the image plane, m.
        normal: (3, size, size), unit: right, up, toward the camera.
        reshading: cosine between normal and a light just above the camera, in [0, 1].
        edge_occlusion: depth discontinuity between neighboring pixels, 1 at half a meter, not blurred.
    """

    image: Floats
    segment: NDArray[np.uint8]
    depth_euclidean: Floats
    depth_zbuffer: Floats
    normal: Floats
    reshading: Floats
    edge_occlusion: Floats


def render(room: Room, size: int, rng: np.random.Generator) -> View:
    """Return the rendered view of a room.

    Args:
        room: the scene.
        size: side of the image in pixels.
        rng: of the sensor noise.
    """
    caster, camera = Caster(room.parts, room.size), room.camera
    rays = camera.rays(size)
    hits = caster.nearest(camera.origin, rays)
    points = camera.origin + hits.distance[:, None] * rays
    color = _albedo(hits, [*room.shell, *(part.material for part in room.parts)], rng)
    lit = _light(caster, points + 1e-3 * hits.normal, hits.normal, room.lamp)
    shaded = color * (room.ambient + (1 - room.ambient) * lit[:, None] * room.light)
    image = _brightened(np.clip(shaded, 0, 1)) + rng.normal(0, room.noise, shaded.shape)
    names = np.array([0, 1, 2, *(CLASSES.index(part.name) for part in room.parts)], np.uint8)
    own_normal = np.stack([(hits.normal * axis).sum(1) for axis in camera.axes])
    to_light = camera.origin + 0.3 * camera.axes[1] - points
    cosine = (hits.normal * to_light).sum(1) / np.maximum(np.linalg.norm(to_light, axis=1), 1e-6)
    shape = (size, size)
    return View(
        image=np.clip(image, 0, 1).astype(np.float32).T.reshape(3, *shape),
        segment=names[_row(hits.part)].reshape(shape),
        depth_euclidean=hits.distance.reshape(shape),
        depth_zbuffer=(hits.distance * -(rays * camera.axes[2]).sum(1)).astype(np.float32).reshape(shape),
        normal=own_normal.reshape(3, *shape).astype(np.float32),
        reshading=np.clip(cosine, 0, 1).astype(np.float32).reshape(shape),
        edge_occlusion=_jumps(points.reshape(*shape, 3), hits.normal.reshape(*shape, 3)),
    )


def _row(part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return indices into tables that start with wall, floor and ceiling."""
    rows: NDArray[np.int64] = np.where(part < 0, -1 - part, part + 3)
    return rows


def _albedo(hits: Hits, materials: Sequence[Material], rng: np.random.Generator) -> Floats:
    """Return the surface color of every pixel, from the texture of its part."""
    row = _row(hits.part)
    colors = np.array([m.colors for m in materials], np.float32)[row]
    pattern = np.array([m.pattern for m in materials])[row]
    scale = np.array([m.scale for m in materials], np.float32)[row]
    place = (hits.local + np.array([m.phase for m in materials], np.float32)[row]) / scale[:, None]
    axis = np.array([m.axis for m in materials])[row]
    along = place[np.arange(len(place)), axis]
    others = place.sum(1) - along
    share = np.zeros(len(place), np.float32)
    share = np.where(pattern == 1, np.floor(place).sum(1) % 2, share)
    share = np.where(pattern == 2, np.floor(2 * along) % 2, share)
    share = np.where(pattern == 3, 0.5 + 0.5 * _wave(1.4 * along + 0.3 * _wave(0.5 * others)), share)
    share = np.where(pattern == 4, rng.random(len(place)) * 0.5, share)
    mixed: Floats = colors[:, 0] + 0.6 * share[:, None] * (colors[:, 1] - colors[:, 0])
    return mixed.astype(np.float32)


def _wave(turns: Floats) -> Floats:
    """Return an approximate sine, by two parabolas; the argument is in turns."""
    rest = turns - np.floor(turns) - np.float32(0.5)
    wave: Floats = 16 * rest * (np.abs(rest) - np.float32(0.5))
    return wave


def _brightened(light: Floats) -> Floats:
    """Return gamma-encoded light, with exponent 1/1.6 = 1/2 + 1/8."""
    root = np.sqrt(light)
    return root * np.sqrt(np.sqrt(root))


def _light(caster: Caster, points: Floats, normal: Floats, lamp: Floats) -> Floats:
    """Return the direct light of the lamp at every point, about 1 at two meters below it."""
    way = lamp - points
    length = np.linalg.norm(way, axis=1)
    cosine = np.clip((normal * way).sum(1) / np.maximum(length, 1e-6), 0, 1)
    shadow = caster.blocked(points.astype(np.float32), lamp)
    lit: Floats = np.where(shadow, 0.0, cosine * 6.0 / (2.0 + length**2))
    return lit.astype(np.float32)


def _jumps(points: Floats, normal: Floats) -> Floats:
    """Return the distance of each pixel's surface from the planes of its neighbors, in units of half a meter."""
    jumps = np.zeros(points.shape[:2], np.float32)
    for axis in (0, 1):
        here, there = [(slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None))]
        way = points[there] - points[here]
        off = np.minimum(np.abs((normal[here] * way).sum(-1)), np.abs((normal[there] * way).sum(-1)))
        step = np.clip(off / 0.5, 0, 1)
        jumps[here] = np.maximum(jumps[here], step)
        jumps[there] = np.maximum(jumps[there], step)
    return jumps
