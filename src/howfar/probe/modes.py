"""How ``fast`` and ``exact`` search: which climbs and descents are taken, and when they end."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from howfar.probe.search import Climb, Descent, Search, advance
from howfar.probe.surface import Point, Surface

LEAD = 128  # images that lead the climbs of `fast`
EXACT_LEAD = 256  # images that lead the climbs of `exact`
LED_STEPS = 6  # of a led climb of `exact`, at most
RIVAL = 0.7  # a led climb against the slope goes on where it got that share of the one along it
LED_FALLS = 6  # of a led descent
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
    falls = _descents({name: climb for name, climb in climbs.items() if climb.value < bound[name]}, slopes, start)
    advance(surface, list(falls.values()), gradient=False)
    return climbs, falls


def exact(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, tilt: Mapping[str, Tensor]
) -> tuple[Climbs, Descents]:
    """Return a climb from the better of two starts and a descent a layer, all settled.

    Climbs start where one on fewer images ended, along the slope or against it, and are settled on all. A network
    that fits its images closely has many maxima around each layer; a long climb on half of the images finds higher
    ones than a direct one on all, or a short one on a quarter. Descents are smooth: few images, whose loss is tilted
    by what their gradient lacks, find nearly the place.
    """
    along = _led(surface, _climbs(surface, start, slopes, radius), slopes, EXACT_LEAD, steps=LED_STEPS)
    even = {name: -slopes[name] for name, rise in along.items() if _even(rise, slopes)}
    against = _led(surface, {name: along[name] for name in even}, even, LEAD, steps=LED_STEPS)
    rises = {name: Climb(name, led.radius, start, led.at) for name, led in along.items()}
    others = [
        Climb(name, led.radius, start, led.at) for name, led in against.items() if led.value > RIVAL * along[name].value
    ]
    advance(surface, [*rises.values(), *others])
    rises |= {other.name: other for other in others if other.value > rises[other.name].value}
    _settle(surface, list(rises.values()))
    falls = _descents(along, slopes, start)
    if tilt:
        falls = _led_descents(surface, falls, tilt)
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


def _descents(rises: Climbs, slopes: dict[str, Tensor], start: Point) -> Descents:
    return {name: Descent(name, rise.radius, start, slopes[name], rise=rise.first) for name, rise in rises.items()}


def _led_descents(surface: Surface, falls: Descents, tilt: Mapping[str, Tensor]) -> Descents:
    """Return descents that begin where others, on few images, have ended, and know what those have seen."""
    images, led = surface.fair_part(LEAD), {}
    for name, fall in falls.items():
        losses, qualities = fall.start.losses[:images], fall.start.qualities[:images]
        led[name] = Descent(name, fall.radius, Point(losses, qualities), fall.slope, rise=fall.rise)
    for _ in range(LED_FALLS):
        advance(surface, [fall for fall in led.values() if not fall.settled], images=images, tilt=tilt)
    return {
        name: Descent(
            name, fall.radius, fall.start, fall.slope, rise=fall.rise, opening=led[name].at,
            seen=[seen for seen in led[name].seen if seen.move is not led[name].at],
        )
        for name, fall in falls.items()
    }  # fmt: skip


def _settle(surface: Surface, searches: Sequence[Search]) -> None:
    todo = [search for search in searches if not search.settled]
    while todo:
        advance(surface, todo)
        todo = [search for search in todo if not search.settled and search.points < MOST_STEPS]
