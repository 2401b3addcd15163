"""How ``fast`` and ``exact`` search: which climbs and descents are taken, and when they end."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from howfar.probe.reference import Found
from howfar.probe.search import Climb, Descent, Search, advance
from howfar.probe.surface import Point, Surface

LEAD = 128  # images that lead the climbs of `fast`
EXACT_LEAD = 256  # images that lead the climbs of `exact`
LED_STEPS = 6  # of a led climb of `exact`, at most
RIVAL = 0.7  # a led climb against the slope goes on where it got that share of the one along it
LED_FALLS = 6  # of a led descent
FAST_FALLS = 3  # of a led descent of `fast`
MOST_STEPS = 12  # of one search of `exact`

Climbs = dict[str, Climb]
Descents = dict[str, Descent]


def fast(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, steps: int, tilt: Mapping[str, Tensor]
) -> tuple[Climbs, Descents]:
    """Return one climb and one descent a layer.

    All steps but the last see only ``LEAD`` images, because they need a direction and not a value. Their loss is tilted
    by what their gradient lacks to that of all images.
    """
    climbs = _climbs(surface, start, slopes, radius)
    if steps > 1:
        led = _led(surface, climbs, slopes, LEAD, steps=steps - 1, tilt=tilt)
        climbs = {
            name: Climb(name, climb.radius, start, climb.at if climb.settled else climb.slope)
            for name, climb in led.items()
        }
    advance(surface, list(climbs.values()), gradient=False)
    falls = _descents(climbs, slopes, start)
    if steps > 1:
        falls = _led_descents(surface, falls, tilt, steps=min(steps - 1, FAST_FALLS))
    advance(surface, list(falls.values()), gradient=False)
    return climbs, falls


def exact(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, tilt: Mapping[str, Tensor],
    known: tuple[Climbs, Descents], walked: Mapping[str, Found],
) -> tuple[Climbs, Descents]:  # fmt: skip
    """Return the best of several climbs and of several descents a layer.

    The first climb starts where one on fewer images ended, along the slope. Others start where one against the slope
    ended, where ``fast`` and where the reference ended. A network that fits its images closely has many maxima around
    each layer, and which one a search finds depends on its start. Descents are smooth: few images, whose loss is
    tilted by what their gradient lacks, find nearly the place; others start where ``fast`` and the reference ended.

    Args:
        surface: the loss.
        start: where the network stands.
        slopes: gradients of all layers there.
        radius: of the balls, relative.
        tilt: gradients of all images minus those of the leading ones, by layer.
        known: what ``fast`` found.
        walked: what the reference found, by layer.
    """
    along = _led(surface, _climbs(surface, start, slopes, radius), slopes, EXACT_LEAD, steps=LED_STEPS)
    even = {name: -slopes[name] for name, rise in along.items() if _even(rise, slopes)}
    against = _led(surface, {name: along[name] for name in even}, even, LEAD, steps=LED_STEPS)
    quick_rises, quick_falls = known
    rises: dict[str, list[Search]] = {}
    for name, led in along.items():
        ends = [led.at, quick_rises[name].at, walked[name].highest.move]
        if name in against and against[name].value > RIVAL * led.value:
            ends.append(against[name].at)
        rises[name] = [Climb(name, led.radius, start, slopes[name], opening=end) for end in ends]
    falls: dict[str, list[Search]] = {}
    for name, fall in _led_descents(surface, _descents(along, slopes, start), tilt, steps=LED_FALLS).items():
        ends = [quick_falls[name].at, walked[name].lowest.move]
        others = [Descent(name, fall.radius, start, slopes[name], end, rise=fall.rise) for end in ends]
        falls[name] = [fall, *others]
    return (
        {name: best for name, best in _best(surface, rises, quick_rises).items() if isinstance(best, Climb)},
        {name: best for name, best in _best(surface, falls, quick_falls).items() if isinstance(best, Descent)},
    )


def _best(
    surface: Surface, searches: Mapping[str, Sequence[Search]], known: Mapping[str, Search]
) -> dict[str, Search]:  # fmt: skip
    """Return the best search of each layer: settled where it gained most after one step, or nearly so.

    It counts as settled only where the first search is, and no other found more.
    """
    advance(surface, [search for several in searches.values() for search in several])
    found = {}
    for several in searches.values():
        largest = max(search.value for search in several)
        _settle(surface, [search for search in several if search is several[0] or search.value > RIVAL * largest])
    for name, (first, *others) in searches.items():
        best = max([first, *others, known[name]], key=lambda search: search.value)
        best.settled = first.settled and best.value - first.value <= first.precision
        found[name] = best
    return found


def _even(rise: Climb, slopes: dict[str, Tensor]) -> bool:
    """Return whether the loss would rise against the slope too, judged by its parabola along the slope."""
    return rise.first > 2 * rise.radius * float(slopes[rise.name].norm())


def _led(
    surface: Surface, climbs: Climbs, slopes: dict[str, Tensor], images: int, *, steps: int,
    tilt: Mapping[str, Tensor] | None = None,
) -> Climbs:  # fmt: skip
    """Return climbs along the slopes that see only some images, whose loss is tilted where ``tilt`` is given."""
    led, images = {}, surface.fair_part(images)
    for name, climb in climbs.items():
        losses, qualities = climb.start.losses[:images], climb.start.qualities[:images]
        led[name] = Climb(name, climb.radius, Point(losses, qualities), slopes[name])
    for _ in range(steps):
        advance(surface, [climb for climb in led.values() if not climb.settled], images=images, tilt=tilt or None)
    return led


def _climbs(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float) -> Climbs:
    return {
        name: Climb(name, radius * float(surface.weights[name].norm()), start, slope) for name, slope in slopes.items()
    }


def _descents(rises: Climbs, slopes: dict[str, Tensor], start: Point) -> Descents:
    return {name: Descent(name, rise.radius, start, slopes[name], rise=rise.first) for name, rise in rises.items()}


def _led_descents(surface: Surface, falls: Descents, tilt: Mapping[str, Tensor], *, steps: int) -> Descents:
    """Return descents that begin where others, on few images, have ended, and know what those have seen."""
    images, led = surface.fair_part(LEAD), {}
    for name, fall in falls.items():
        losses, qualities = fall.start.losses[:images], fall.start.qualities[:images]
        led[name] = Descent(name, fall.radius, Point(losses, qualities), fall.slope, rise=fall.rise)
    for _ in range(steps):
        advance(surface, [fall for fall in led.values() if not fall.settled], images=images, tilt=tilt or None)
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
