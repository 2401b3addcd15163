"""Random rooms: furniture, openings and light."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from howfar.data.rooms import furniture as f
from howfar.data.rooms.camera import Camera, Vector, draw_camera
from howfar.data.rooms.parts import Material, Part, Piece, box, rounded

SCENES = ("bedroom", "living_room", "dining_room", "kitchen", "bathroom", "office")
# First the furniture that defines the room and is always there, then optional furniture with its probability.
NEEDED: dict[str, tuple[f.Draw, ...]] = {
    "bedroom": (f.bed,),
    "living_room": (f.sofa,),
    "dining_room": (),
    "kitchen": (f.counter,),
    "bathroom": (f.toilet, f.washbasin),
    "office": (f.desk,),
}
OFTEN: dict[str, tuple[tuple[f.Draw, float], ...]] = {
    "bedroom": ((f.nightstand, 0.8), (f.wardrobe, 0.7), (f.nightstand, 0.4), (f.chair, 0.2)),
    "living_room": ((f.screen_on_stand, 0.7), (f.armchair, 0.5), (f.bookshelf, 0.4), (f.floor_lamp, 0.5)),
    "dining_room": ((f.sideboard, 0.7), (f.bookshelf, 0.2)),
    "kitchen": ((f.fridge, 0.85), (f.sideboard, 0.2)),
    "bathroom": ((f.bathtub, 0.75), (f.sideboard, 0.2)),
    "office": ((f.bookshelf, 0.8), (f.desk, 0.35), (f.wardrobe, 0.2)),
}
ANYWHERE: tuple[tuple[f.Draw, float], ...] = (
    (f.plant, 0.35),
    (f.floor_lamp, 0.15),
    (f.sideboard, 0.15),
    (f.chair, 0.15),
)
SEATS = {"dining_room": (f.table, 1.0, 6), "kitchen": (f.table, 0.4, 4), "living_room": (f.coffee_table, 0.7, 0)}
GAP = 0.08  # m between two pieces at a wall


@dataclass(frozen=True)
class Room:
    """A complete scene for rendering.

    Attributes:
        scene: index in ``SCENES``.
        size: width, depth and height, m; one corner of the floor is the origin.
        parts: furniture and wall objects.
        shell: materials of wall, floor and ceiling.
        camera: viewpoint.
        lamp: position of the light, m.
        light: its color, RGB.
        ambient: ambient light, as a share of the lamp's.
        noise: standard deviation of the sensor noise, images in [0, 1].
    """

    scene: int
    size: Vector
    parts: list[Part]
    shell: tuple[Material, Material, Material]
    camera: Camera
    lamp: Vector
    light: Vector
    ambient: float
    noise: float


def draw_room(rng: Generator) -> Room:
    """Return a random room; the scene class determines only furniture and layout."""
    scene = int(rng.integers(len(SCENES)))
    size = np.array([rng.uniform(2.8, 4.8), rng.uniform(2.8, 4.8), rng.uniform(2.4, 3.1)], np.float32)
    walls = _Walls(size, rng)
    anchors = _furnish(SCENES[scene], walls, rng)
    walls.hang(rng)
    camera = draw_camera(size, anchors, walls.parts, rng)
    lamp = np.array([*(size[:2] * rng.uniform(0.25, 0.75, 2)), size[2] - rng.uniform(0.1, 0.4)], np.float32)
    warm = rng.uniform(0.75, 1.0)
    light = np.array([1.0, 0.5 + warm / 2, warm], np.float32)[:: 1 if rng.random() < 0.6 else -1]
    shell = (Material.drawn(rng), Material.drawn(rng), Material.drawn(rng))
    return Room(
        scene, size, walls.parts, shell, camera, lamp, light * rng.uniform(0.8, 1.3), float(rng.uniform(0.3, 0.55)),
        float(rng.uniform(0.004, 0.015)),
    )  # fmt: skip


class _Walls:
    """Free space along the four walls, and what is placed there."""

    def __init__(self, size: Vector, rng: Generator) -> None:
        self.size = size
        self.parts: list[Part] = []
        self.taken: dict[int, list[tuple[float, float]]] = {wall: [] for wall in range(4)}
        self.deep = dict.fromkeys(range(4), 0.0)
        self.order = rng.permutation(4).tolist()

    def length(self, wall: int) -> float:
        return float(self.size[wall % 2])

    def place(self, piece: Piece, rng: Generator, wall: int | None = None) -> list[Part] | None:
        """Place a piece with its back to a wall; None if there is no space."""
        for candidate in self.order if wall is None else (wall,):
            # Corners belong to the neighboring walls.
            low, high = self._free_of_corners(candidate, piece.depth)
            for _ in range(6):
                if high - low < piece.width:
                    break
                middle = float(rng.uniform(low + piece.width / 2, high - piece.width / 2))
                span = (middle - piece.width / 2 - GAP, middle + piece.width / 2 + GAP)
                if all(span[1] <= a or b <= span[0] for a, b in self.taken[candidate]):
                    self.taken[candidate].append(span)
                    self.deep[candidate] = max(self.deep[candidate], piece.depth)
                    placed = piece.at(*self.spot(candidate, middle))
                    self.parts += placed
                    return placed
        return None

    def spot(self, wall: int, along: float) -> tuple[float, float, float]:
        """Return x, y and yaw of a place at a wall, ``along`` meters from its left end."""
        w, d = float(self.size[0]), float(self.size[1])
        return [
            (w - along, 0.0, 0.0), (w, d - along, math.pi / 2), (along, d, math.pi), (0.0, along, -math.pi / 2),
        ][wall]  # fmt: skip

    def hang(self, rng: Generator) -> None:
        """Add one or two windows, a door and pictures where there is no tall furniture."""
        for draw in (_window, _door, _picture, _picture, _window):
            if rng.random() < 0.7:
                wall = int(rng.integers(4))
                width, parts = draw(rng)
                middle = float(rng.uniform(width / 2, max(self.length(wall) - width / 2, width / 2 + 1e-3)))
                self.parts += Piece(tuple(parts), width, 0.05).at(*self.spot(wall, middle))

    def _free_of_corners(self, wall: int, depth: float) -> tuple[float, float]:
        """Return the interval of a wall that is clear of furniture around the corners."""
        left, right = (wall + 1) % 4, (wall - 1) % 4
        crowded = any(end > self.length(left) - depth for _, end in self.taken[left])
        low = self.deep[left] if crowded else 0.0
        crowded = any(start < depth for start, _ in self.taken[right])
        return low, self.length(wall) - (self.deep[right] if crowded else 0.0)


def _furnish(scene: str, walls: _Walls, rng: Generator) -> list[Part]:
    """Furnish a room; return the parts that the camera should show."""
    anchors: list[Part] = []
    for draw in NEEDED[scene]:
        anchors += walls.place(draw(rng), rng) or []
    if scene in SEATS:
        draw, likely, seats = SEATS[scene]
        if rng.random() < likely:
            anchors += _island(draw(rng), seats, walls, rng)
    for draw, likely in (*OFTEN[scene], *ANYWHERE):
        if rng.random() < likely:
            walls.place(draw(rng), rng)
    if scene == "office":
        anchors += _seat_at(anchors, walls, rng)
    return anchors or walls.parts


def _island(table: Piece, seats: int, walls: _Walls, rng: Generator) -> list[Part]:
    """Add a table with chairs in the middle of the room; return the parts."""
    x, y = (float(side * rng.uniform(0.42, 0.58)) for side in walls.size[:2])
    yaw = float(rng.choice([0, math.pi / 2]) + rng.normal(0, 0.08))
    parts = [part.moved(0, -table.depth / 2) for part in table.parts]
    half_w, half_d = table.width / 2, table.depth / 2
    places = [(-half_w / 2, -half_d, 0.0), (half_w / 2, -half_d, 0.0), (-half_w / 2, half_d, math.pi),
              (half_w / 2, half_d, math.pi), (-half_w, 0.0, -math.pi / 2), (half_w, 0.0, math.pi / 2)]  # fmt: skip
    model = f.chair(rng)
    for px, py, turn in places[:seats]:
        if rng.random() < 0.85:
            turned = [part.moved(0, -model.depth - 0.02 + rng.uniform(-0.1, 0.15)) for part in model.parts]
            parts += [part.moved(px, py, yaw=turn + float(rng.normal(0, 0.1))) for part in turned]
    placed = [part.moved(x, y, yaw=yaw) for part in parts]
    walls.parts += placed
    return placed


def _seat_at(desk: list[Part], walls: _Walls, rng: Generator) -> list[Part]:
    """Add a chair in front of a desk; return its parts."""
    if not desk:
        return []
    top = desk[0]
    offset = top.half[1] + 0.45
    x, y = top.center[0] - offset * math.sin(top.yaw), top.center[1] + offset * math.cos(top.yaw)
    placed = f.chair(rng).at(x, y, top.yaw + math.pi + float(rng.normal(0, 0.3)))
    walls.parts += placed
    return placed


def _window(rng: Generator) -> tuple[float, list[Part]]:
    w, low, high = rng.uniform(0.8, 1.8), rng.uniform(0.8, 1.1), rng.uniform(1.8, 2.2)
    frame, glass = Material.drawn(rng), Material.drawn(rng)
    return w, [
        box("window", frame, (-w / 2, w / 2), (0, 0.03), (low, high)),
        box("window", glass, (-w / 2 + 0.06, -0.03), (0, 0.04), (low + 0.06, high - 0.06)),
        box("window", glass, (0.03, w / 2 - 0.06), (0, 0.04), (low + 0.06, high - 0.06)),
    ]


def _door(rng: Generator) -> tuple[float, list[Part]]:
    w = rng.uniform(0.8, 0.95)
    leaf = Material.drawn(rng)
    return w, [
        box("door", leaf, (-w / 2, w / 2), (0, 0.04), (0, 2.05)),
        rounded("ellipsoid", "door", Material.drawn(rng), (w / 2 - 0.1, 0.07, 1.0), (0.06, 0.04, 0.03)),
    ]


def _picture(rng: Generator) -> tuple[float, list[Part]]:
    w, h, z = rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.7), rng.uniform(1.4, 1.7)
    return w, [
        _panel(Material.drawn(rng), w, h, z, 0.03),
        _panel(Material.drawn(rng), w - 0.1, h - 0.1, z, 0.035),
    ]


def _panel(material: Material, width: float, height: float, z: float, thick: float) -> Part:
    return box("picture", material, (-width / 2, width / 2), (0, thick), (z - height / 2, z + height / 2))
