"""Where the camera of a room stands, and the rays through its pixels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from howfar.data.rooms.parts import Part

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """Camera pose and projection.

    Attributes:
        origin: m.
        axes: rows right, up and back in the room's frame; the camera looks along −back.
        focal: focal length ÷ half of the image width.
    """

    origin: Vector
    axes: Vector
    focal: float

    def rays(self, size: int) -> Vector:
        """Return unit directions in the room's frame, (size·size, 3), row by row from the top left."""
        ticks = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
        x, y = np.meshgrid(ticks, -ticks)
        own = np.stack([x.ravel() / self.focal, y.ravel() / self.focal, -np.ones(size * size, np.float32)], 1)
        unit = own / np.linalg.norm(own, axis=1, keepdims=True)
        return np.stack([(unit * axis).sum(1) for axis in self.axes.T], 1).astype(np.float32)


def draw_camera(size: Vector, anchors: list[Part], parts: list[Part], rng: Generator) -> Camera:
    """Return a camera in free space, at some distance from ``anchors`` and directed at them."""
    target = np.mean([part.center for part in anchors], axis=0)
    best, highest = np.zeros(3), -1.0
    for _ in range(8):
        place = np.array([*(rng.uniform(0.25, size[:2] - 0.25)), rng.uniform(1.0, min(1.9, size[2] - 0.3))])
        clear = _clearance(place, parts)
        score = min(math.dist(place[:2], target[:2]), 3.5) if clear > 0.35 else clear - 9.0
        if score > highest or highest == -1.0:
            best, highest = place, score
    toward = target - best
    yaw = math.atan2(toward[1], toward[0]) + float(rng.normal(0, 0.18))
    pitch = math.atan2(toward[2], max(float(np.hypot(toward[0], toward[1])), 0.5)) * 0.6 + float(rng.normal(0.05, 0.1))
    roll, field = float(rng.normal(0, 0.04)), math.radians(rng.uniform(55, 80))
    return Camera(best.astype(np.float32), axes(yaw, pitch, roll), 1 / math.tan(field / 2))


def axes(yaw: float, pitch: float, roll: float) -> Vector:
    """Return the axes right, up and back of a camera with this yaw, pitch and roll, in radians."""
    forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    up = np.cross(right, forward)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack([c * right + s * up, c * up - s * right, -forward]).astype(np.float32)


def _clearance(place: NDArray[np.float64], parts: list[Part]) -> float:
    """Return a lower bound of the distance to the nearest part, m; negative inside."""
    if not parts:
        return 9.0
    yaws = np.array([part.yaw for part in parts])
    c, s = np.cos(yaws), np.sin(yaws)
    x, y, z = (place - np.array([part.center for part in parts])).T
    own = np.abs([c * x + s * y, c * y - s * x, z]) - np.array([part.half for part in parts]).T
    outside = np.linalg.norm(np.maximum(own, 0), axis=0)
    return float(np.where(outside > 0, outside, own.max(0)).min())
