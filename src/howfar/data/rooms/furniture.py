"""Furniture, assembled from parts with random sizes; a piece is drawn by its name."""

from collections.abc import Callable

from numpy.random import Generator

from howfar.data.rooms.parts import Material, Part, Piece, box, legs, rounded


def bed(rng: Generator) -> Piece:
    """A mattress on a frame, with a headboard and pillows."""
    w, d, h = rng.uniform(0.9, 1.9), rng.uniform(1.8, 2.2), rng.uniform(0.25, 0.4)
    frame, sheet, pillow = (Material.drawn(rng) for _ in range(3))
    board = rng.uniform(0.6, 1.1)
    parts = [
        box("bed", frame, (-w / 2, w / 2), (0, d), (0, h)),
        box("bed", sheet, (-w / 2 + 0.03, w / 2 - 0.03), (0.06, d - 0.03), (h, h + 0.2)),
        box("bed", frame, (-w / 2, w / 2), (0, 0.06), (0, board)),
    ]
    for side in (-1, 1) if w > 1.3 else (0,):
        parts.append(rounded("ellipsoid", "bed", pillow, (side * w / 4, 0.3, h + 0.25), (min(w / 4.5, 0.35), 0.2, 0.1)))
    return Piece(tuple(parts), w, d)


def sofa(rng: Generator) -> Piece:
    """A seat with a back and two arms."""
    w, d, seat = rng.uniform(1.4, 2.4), rng.uniform(0.8, 1.0), rng.uniform(0.36, 0.46)
    cloth, arm = Material.drawn(rng), rng.uniform(0.12, 0.22)
    parts = (
        box("sofa", cloth, (-w / 2, w / 2), (0, d), (0.06, seat)),
        box("sofa", cloth, (-w / 2, w / 2), (0, 0.25), (0.06, rng.uniform(0.75, 0.95))),
        box("sofa", cloth, (-w / 2, -w / 2 + arm), (0, d), (0.06, seat + 0.2)),
        box("sofa", cloth, (w / 2 - arm, w / 2), (0, d), (0.06, seat + 0.2)),
    )
    return Piece(parts, w, d)


def armchair(rng: Generator) -> Piece:
    """A sofa for one."""
    w, d, seat = rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.9), 0.42
    cloth = Material.drawn(rng)
    parts = (
        box("sofa", cloth, (-w / 2, w / 2), (0, d), (0.06, seat)),
        box("sofa", cloth, (-w / 2, w / 2), (0, 0.2), (0.06, 0.95)),
        box("sofa", cloth, (-w / 2, -w / 2 + 0.15), (0, d), (0.06, 0.62)),
        box("sofa", cloth, (w / 2 - 0.15, w / 2), (0, d), (0.06, 0.62)),
    )
    return Piece(parts, w, d)


def chair(rng: Generator) -> Piece:
    """A seat on four legs with a back."""
    w, seat = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48)
    wood, cushion = Material.drawn(rng), Material.drawn(rng)
    parts = [
        box("chair", cushion, (-w / 2, w / 2), (0, w), (seat - 0.05, seat)),
        box("chair", wood, (-w / 2, w / 2), (0, 0.04), (seat, rng.uniform(0.8, 1.0))),
        *legs("chair", wood, w, w, seat - 0.05),
    ]
    return Piece(tuple(parts), w, w)


def table(rng: Generator, low: float = 0.70, high: float = 0.78) -> Piece:
    """A top, rectangular on four legs or round on one."""
    w, d, top = rng.uniform(1.0, 2.0), rng.uniform(0.7, 1.0), rng.uniform(low, high)
    wood = Material.drawn(rng)
    if rng.random() < 0.3:
        r = d / 1.8
        round_parts = (
            rounded("cylinder", "table", wood, (0, r, top - 0.02), (r, r, 0.02)),
            rounded("cylinder", "table", wood, (0, r, top / 2), (0.06, 0.06, top / 2)),
        )
        return Piece(round_parts, 2 * r, 2 * r)
    parts = [
        box("table", wood, (-w / 2, w / 2), (0, d), (top - 0.04, top)),
        *legs("table", wood, w, d, top - 0.04, thick=0.06),
    ]
    return Piece(tuple(parts), w, d)


def coffee_table(rng: Generator) -> Piece:
    """A low table."""
    return table(rng, 0.32, 0.46)


def desk(rng: Generator) -> Piece:
    """A table against the wall with a screen and sometimes a lamp on it."""
    w, d, top = rng.uniform(1.1, 1.7), rng.uniform(0.6, 0.8), 0.74
    wood = Material.drawn(rng)
    parts = [
        box("table", wood, (-w / 2, w / 2), (0, d), (top - 0.04, top)),
        box("table", wood, (-w / 2, -w / 2 + 0.04), (0, d), (0, top)),
        box("table", wood, (w / 2 - 0.04, w / 2), (0, d), (0, top)),
        *_screen(rng, rng.uniform(-0.2, 0.2), 0.2, top + 0.1, rng.uniform(0.45, 0.65)),
    ]
    if rng.random() < 0.5:
        parts += _lamp(rng, w / 2 - 0.2, 0.25, top, 0.4)
    return Piece(tuple(parts), w, d)


def screen_on_stand(rng: Generator) -> Piece:
    """A television on a low cabinet."""
    w, d, h = rng.uniform(1.2, 2.0), 0.45, rng.uniform(0.35, 0.6)
    parts = (
        box("cabinet", Material.drawn(rng), (-w / 2, w / 2), (0, d), (0.05, h)),
        *_screen(rng, 0.0, 0.2, h + 0.05, rng.uniform(0.8, 1.4)),
    )
    return Piece(parts, w, d)


def wardrobe(rng: Generator) -> Piece:
    """A tall cabinet with door leaves."""
    w, d, h = rng.uniform(0.9, 2.0), rng.uniform(0.5, 0.65), rng.uniform(1.8, 2.2)
    body, leaf = Material.drawn(rng), Material.drawn(rng)
    parts = [box("cabinet", body, (-w / 2, w / 2), (0, d), (0, h))]
    count = 2 if w < 1.4 else 3
    for k in range(count):
        left = -w / 2 + k * w / count
        parts.append(box("cabinet", leaf, (left + 0.02, left + w / count - 0.02), (d, d + 0.02), (0.08, h - 0.05)))
    return Piece(tuple(parts), w, d)


def bookshelf(rng: Generator) -> Piece:
    """Boards between two sides, filled with books here and there."""
    w, d, h = rng.uniform(0.7, 1.3), 0.32, rng.uniform(1.3, 2.1)
    wood = Material.drawn(rng)
    parts = [
        box("cabinet", wood, (-w / 2, w / 2), (0, 0.03), (0, h)),
        box("cabinet", wood, (-w / 2, -w / 2 + 0.03), (0, d), (0, h)),
        box("cabinet", wood, (w / 2 - 0.03, w / 2), (0, d), (0, h)),
    ]
    for z in range(1 + int(h / 0.4)):
        parts.append(box("cabinet", wood, (-w / 2, w / 2), (0, d), (0.4 * z, 0.4 * z + 0.03)))
        if 0.4 * z + 0.35 < h and rng.random() < 0.8:
            right = rng.uniform(-0.2 * w, w / 2 - 0.05)
            tall = 0.4 * z + rng.uniform(0.2, 0.34)
            parts.append(
                box("cabinet", Material.drawn(rng), (-w / 2 + 0.03, right), (0.03, 0.26), (0.4 * z + 0.03, tall))
            )
    return Piece(tuple(parts), w, d)


def sideboard(rng: Generator) -> Piece:
    """A low, long cabinet."""
    w, d, h = rng.uniform(0.8, 1.8), rng.uniform(0.35, 0.5), rng.uniform(0.6, 0.95)
    return Piece((box("cabinet", Material.drawn(rng), (-w / 2, w / 2), (0, d), (0.06, h)),), w, d)


def nightstand(rng: Generator) -> Piece:
    """A small cabinet, often with a lamp."""
    w, h = rng.uniform(0.35, 0.5), rng.uniform(0.4, 0.6)
    parts = [box("cabinet", Material.drawn(rng), (-w / 2, w / 2), (0, 0.4), (0, h))]
    parts += _lamp(rng, 0.0, 0.2, h, 0.45) if rng.random() < 0.6 else []
    return Piece(tuple(parts), w, 0.4)


def counter(rng: Generator) -> Piece:
    """Kitchen cabinets with a sink and a stove, and more cabinets above."""
    w, d, h = rng.uniform(2.0, 3.0), 0.6, 0.9
    front, top, steel, above = (Material.drawn(rng) for _ in range(4))
    sink, stove = (-w / 4, w / 4) if rng.random() < 0.5 else (w / 4, -w / 4)
    parts = [
        box("cabinet", front, (-w / 2, w / 2), (0, d), (0, h)),
        box("cabinet", top, (-w / 2, w / 2), (0, d + 0.02), (h, h + 0.04)),
        box("sanitary", steel, (sink - 0.28, sink + 0.28), (0.1, 0.5), (h + 0.04, h + 0.07)),
        rounded("cylinder", "sanitary", steel, (sink, 0.08, h + 0.2), (0.02, 0.02, 0.16)),
        box("appliance", steel, (stove - 0.3, stove + 0.3), (0.02, d + 0.03), (0.1, h + 0.06)),
    ]
    if rng.random() < 0.8:
        parts.append(box("cabinet", above, (-w / 2, w / 2), (0, 0.35), (1.45, 2.1)))
    return Piece(tuple(parts), w, d)


def fridge(rng: Generator) -> Piece:
    """A tall box with two doors."""
    w, d, h = 0.62, 0.65, rng.uniform(1.5, 1.95)
    body, door = Material.drawn(rng), Material.drawn(rng)
    parts = (
        box("appliance", body, (-w / 2, w / 2), (0, d), (0, h)),
        box("appliance", door, (-w / 2 + 0.02, w / 2 - 0.02), (d, d + 0.03), (0.05, h * 0.6)),
        box("appliance", door, (-w / 2 + 0.02, w / 2 - 0.02), (d, d + 0.03), (h * 0.62, h - 0.02)),
    )
    return Piece(parts, w, d)


def toilet(rng: Generator) -> Piece:
    """A bowl in front of a cistern."""
    white = Material.drawn(rng)
    parts = (
        box("sanitary", white, (-0.2, 0.2), (0, 0.18), (0.35, 0.8)),
        rounded("cylinder", "sanitary", white, (0, 0.4, 0.2), (0.16, 0.2, 0.2)),
        rounded("ellipsoid", "sanitary", white, (0, 0.42, 0.4), (0.2, 0.26, 0.06)),
    )
    return Piece(parts, 0.45, 0.7)


def washbasin(rng: Generator) -> Piece:
    """A bowl on a foot or a cabinet, a mirror above."""
    white = Material.drawn(rng)
    parts = [
        rounded("ellipsoid", "sanitary", white, (0, 0.27, 0.82), (0.32, 0.25, 0.12)),
        box("picture", Material.drawn(rng), (-0.3, 0.3), (0, 0.02), (1.15, 1.8)),
    ]
    if rng.random() < 0.5:
        parts.append(rounded("cylinder", "sanitary", white, (0, 0.2, 0.4), (0.09, 0.09, 0.4)))
    else:
        parts.append(box("cabinet", Material.drawn(rng), (-0.35, 0.35), (0, 0.45), (0.2, 0.78)))
    return Piece(tuple(parts), 0.75, 0.55)


def bathtub(rng: Generator) -> Piece:
    """Four rims around a bottom."""
    w, d, h, t = rng.uniform(1.5, 1.8), 0.75, rng.uniform(0.5, 0.6), 0.09
    white = Material.drawn(rng)
    parts = (
        box("sanitary", white, (-w / 2, w / 2), (0, d), (0, 0.15)),
        box("sanitary", white, (-w / 2, w / 2), (0, t), (0, h)),
        box("sanitary", white, (-w / 2, w / 2), (d - t, d), (0, h)),
        box("sanitary", white, (-w / 2, -w / 2 + t), (0, d), (0, h)),
        box("sanitary", white, (w / 2 - t, w / 2), (0, d), (0, h)),
    )
    return Piece(parts, w, d)


def floor_lamp(rng: Generator) -> Piece:
    """A shade on a pole."""
    return Piece(tuple(_lamp(rng, 0.0, 0.25, 0.0, rng.uniform(1.3, 1.8))), 0.5, 0.5)


def plant(rng: Generator) -> Piece:
    """Leaves as ellipsoids over a pot."""
    pot, leaf = Material.drawn(rng), Material.drawn(rng)
    h = rng.uniform(0.25, 0.5)
    parts = [rounded("cylinder", "plant", pot, (0, 0.25, h / 2), (0.16, 0.16, h / 2))]
    for _ in range(int(rng.integers(2, 5))):
        x, y, z = rng.uniform(-0.15, 0.15), 0.25 + rng.uniform(-0.1, 0.15), h + rng.uniform(0.15, 0.8)
        half = tuple(rng.uniform(0.12, 0.28, 3).tolist())
        parts.append(rounded("ellipsoid", "plant", leaf, (x, y, z), half))
    return Piece(tuple(parts), 0.6, 0.6)


def _screen(rng: Generator, x: float, y: float, z: float, width: float) -> list[Part]:
    dark, height = Material.drawn(rng), width * 0.58
    return [
        box("screen", dark, (x - width / 2, x + width / 2), (y, y + 0.05), (z, z + height)),
        box("screen", dark, (x - 0.1, x + 0.1), (y - 0.05, y + 0.12), (z - 0.1, z - 0.08)),
        box("screen", dark, (x - 0.03, x + 0.03), (y, y + 0.04), (z - 0.1, z)),
    ]


def _lamp(rng: Generator, x: float, y: float, z: float, height: float) -> list[Part]:
    pole, shade = Material.drawn(rng), Material.drawn(rng)
    r = rng.uniform(0.12, 0.22)
    return [
        rounded("cylinder", "lamp", pole, (x, y, z + height / 2), (0.02, 0.02, height / 2)),
        rounded("cylinder", "lamp", pole, (x, y, z + 0.015), (0.1, 0.1, 0.015)),
        rounded("cylinder", "lamp", shade, (x, y, z + height), (r, r, 0.13)),
    ]


Draw = Callable[[Generator], Piece]
