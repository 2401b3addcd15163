"""How ``fast`` and ``exact`` search: which climbs and descents are taken, and when they end."""

from collections.abc import Sequence

from torch import Tensor

from howfar.probe.search import Climb, Descent, Search, advance
from howfar.probe.surface import Point, Surface

LEAD = 128  # images that lead the climbs
LED_STEPS = 5  # of a led climb of `exact`
MOST_STEPS = 12  # of one search of `exact`

Climbs = dict[str, Climb]
Descents = dict[str, Descent]


def fast(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, steps: int
) -> tuple[Climbs, Descents]:
    """Return one climb a layer, and a descent where the fall may be the larger.

    All climbs but the last step see only ``LEAD`` images: they need a direction, not a value.
    """
    climbs = _climbs(surface, start, slopes, radius)
    bound = {name: climb.radius * float(slopes[name].norm()) for name, climb in climbs.items()}
    if steps > 1:
        led = _led(surface, climbs, slopes, LEAD, steps=steps - 1)
        climbs = {
            name: Climb(name, climb.radius, start, climb.at if climb.settled else climb.slope)
            for name, climb in led.items()
        }
    advance(surface, list(climbs.values()), gradient=False)
    falls = _descents({name: climb for name, climb in climbs.items() if climb.value < bound[name]}, slopes)
    advance(surface, list(falls.values()), gradient=False)
    return climbs, falls


def exact(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float) -> tuple[Climbs, Descents]:
    """Return a climb from the best of several starts and a descent a layer, all settled.

    Climbs start along the slope, against it, and where a climb on few images ended (a network that fits its images
    closely has many maxima around each layer, and some are easier to see on few).
    """
    along = _climbs(surface, start, slopes, radius)
    led = _led(surface, along, slopes, LEAD, steps=LED_STEPS)
    others = [Climb(name, rise.radius, start, led[name].at) for name, rise in along.items()]
    advance(surface, [*along.values(), *others])
    against = [Climb(name, rise.radius, start, -slopes[name]) for name, rise in along.items() if _even(rise, slopes)]
    advance(surface, against)
    rises = dict(along)
    for other in [*others, *against]:
        if other.value > rises[other.name].value:
            rises[other.name] = other
    _settle(surface, list(rises.values()))
    falls = _descents(along, slopes)
    _settle(surface, list(falls.values()))
    return rises, falls


def _even(rise: Climb, slopes: dict[str, Tensor]) -> bool:
    """Return whether the loss would rise against the slope too, judged by its parabola along the slope."""
    return rise.first > 2 * rise.radius * float(slopes[rise.name].norm())


def _led(surface: Surface, climbs: Climbs, slopes: dict[str, Tensor], images: int, *, steps: int) -> Climbs:
    """Return climbs along the slopes that see only some images."""
    led, images = {}, surface.fair_part(images)
    for name, climb in climbs.items():
        losses, qualities = climb.start.losses[:images], climb.start.qualities[:images]
        led[name] = Climb(name, climb.radius, Point(losses, qualities), slopes[name])
    for _ in range(steps):
        advance(surface, [climb for climb in led.values() if not climb.settled], images=images)
    return led


def _climbs(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float) -> Climbs:
    return {
        name: Climb(name, radius * float(surface.weights[name].norm()), start, slope) for name, slope in slopes.items()
    }


def _descents(rises: Climbs, slopes: dict[str, Tensor]) -> Descents:
    return {name: Descent(name, rise.radius, rise.start, slopes[name], rise=rise.first) for name, rise in rises.items()}


def _settle(surface: Surface, searches: Sequence[Search]) -> None:
    todo = [search for search in searches if not search.settled]
    while todo:
        advance(surface, todo)
        todo = [search for search in todo if not search.settled and search.points < MOST_STEPS]
