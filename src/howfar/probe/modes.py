"""Search strategies of the modes ``fast`` and ``exact``: which climbs and descents are run, and when they end."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from howfar.probe.reference import Found
from howfar.probe.search import Climb, Descent, Search, advance
from howfar.probe.surface import Point, Surface

SUBSET = 128  # images that give the directions of `fast`
EXACT_SUBSET = 256  # the same for the climbs of `exact`
SUBSET_STEPS = 6  # of a climb of `exact` on a subset, at most
RIVAL = 0.7  # a search is continued if its gain is more than this share of the best one's
SUBSET_FALLS = 6  # steps of a descent on a subset
FAST_FALLS = 3  # the same in `fast`
MOST_STEPS = 12  # of one search of `exact`

Climbs = dict[str, Climb]
Descents = dict[str, Descent]


def fast(
    surface: Surface,
    start: Point,
    slopes: dict[str, Tensor],
    radius: float,
    steps: int,
    correction: Mapping[str, Tensor],
) -> tuple[Climbs, Descents]:
    """Return one climb and one descent per layer.

    All steps but the last use only ``SUBSET`` images, because they need a direction and no value, with an SVRG gradient
    correction toward the loss of all images.
    """
    climbs = _climbs(surface, start, slopes, radius)
    if steps > 1:
        led = _on_subset(surface, climbs, slopes, SUBSET, steps=steps - 1, correction=correction)
        climbs = {
            name: Climb(name, climb.radius, start, climb.at if climb.settled else climb.slope)
            for name, climb in led.items()
        }
    advance(surface, list(climbs.values()), gradient=False)
    falls = _descents(climbs, slopes, start)
    if steps > 1:
        falls = _descents_on_subset(surface, falls, correction, steps=min(steps - 1, FAST_FALLS))
    advance(surface, list(falls.values()), gradient=False)
    return climbs, falls


def exact(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, correction: Mapping[str, Tensor],
    known: tuple[Climbs, Descents], references: Mapping[str, Found],
) -> tuple[Climbs, Descents]:  # fmt: skip
    """Return the best of several climbs and of several descents per layer.

    The first climb starts from the result of a climb on fewer images along the gradient. Others start from the result
    of one against the gradient, of ``fast`` and of the reference. A network that fits its images closely has many
    maxima around each layer, and which one a search finds depends on its start. Descents are smooth: one on few images
    with an SVRG gradient correction ends close to the minimum. Others start from ``fast`` and from the reference.

    Args:
        surface: the loss.
        start: loss and quality at the unperturbed weights.
        slopes: gradients of all layers there.
        radius: of the balls, relative.
        correction: gradients on all images minus those on the subset, by layer.
        known: result of ``fast``.
        references: results of the reference, by layer.
    """
    along = _on_subset(surface, _climbs(surface, start, slopes, radius), slopes, EXACT_SUBSET, steps=SUBSET_STEPS)
    even = {name: -slopes[name] for name, rise in along.items() if _even(rise, slopes)}
    against = _on_subset(surface, {name: along[name] for name in even}, even, SUBSET, steps=SUBSET_STEPS)
    quick_rises, quick_falls = known
    rises: dict[str, list[Search]] = {}
    for name, led in along.items():
        ends = [led.at, quick_rises[name].at, references[name].highest.move]
        if name in against and against[name].value > RIVAL * led.value:
            ends.append(against[name].at)
        rises[name] = [Climb(name, led.radius, start, slopes[name], opening=end) for end in ends]
    falls: dict[str, list[Search]] = {}
    for name, fall in _descents_on_subset(
        surface, _descents(along, slopes, start), correction, steps=SUBSET_FALLS
    ).items():
        ends = [quick_falls[name].at, references[name].lowest.move]
        others = [Descent(name, fall.radius, start, slopes[name], end, rise=fall.rise) for end in ends]
        falls[name] = [fall, *others]
    return (
        {name: best for name, best in _best(surface, rises, quick_rises).items() if isinstance(best, Climb)},
        {name: best for name, best in _best(surface, falls, quick_falls).items() if isinstance(best, Descent)},
    )


def _best(
    surface: Surface, searches: Mapping[str, Sequence[Search]], known: Mapping[str, Search]
) -> dict[str, Search]:  # fmt: skip
    """Return the best search per layer, after continuing those that gained nearly the most in one step.

    It counts as settled only if the first search is and no other one found more.
    """
    advance(surface, [search for several in searches.values() for search in several])
    found = {}
    for several in searches.values():
        largest = max(search.value for search in several)
        _until_settled(
            surface, [search for search in several if search is several[0] or search.value > RIVAL * largest]
        )
    for name, (first, *others) in searches.items():
        best = max([first, *others, known[name]], key=lambda search: search.value)
        best.settled = first.settled and best.value - first.value <= first.precision
        found[name] = best
    return found


def _even(rise: Climb, slopes: dict[str, Tensor]) -> bool:
    """Return whether the loss also rises against the gradient, according to its parabola along the gradient."""
    return rise.first > 2 * rise.radius * float(slopes[rise.name].norm())


def _on_subset(
    surface: Surface, climbs: Climbs, slopes: dict[str, Tensor], images: int, *, steps: int,
    correction: Mapping[str, Tensor] | None = None,
) -> Climbs:  # fmt: skip
    """Return climbs along the given directions on a subset of the images, corrected if ``correction`` is given."""
    led, images = {}, surface.subset_size(images)
    for name, climb in climbs.items():
        losses, qualities = climb.start.losses[:images], climb.start.qualities[:images]
        led[name] = Climb(name, climb.radius, Point(losses, qualities), slopes[name])
    for _ in range(steps):
        advance(
            surface,
            [climb for climb in led.values() if not climb.settled],
            images=images,
            correction=correction or None,
        )
    return led


def _climbs(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float) -> Climbs:
    return {
        name: Climb(name, radius * float(surface.weights[name].norm()), start, slope) for name, slope in slopes.items()
    }


def _descents(rises: Climbs, slopes: dict[str, Tensor], start: Point) -> Descents:
    return {name: Descent(name, rise.radius, start, slopes[name], rise=rise.first) for name, rise in rises.items()}


def _descents_on_subset(surface: Surface, falls: Descents, correction: Mapping[str, Tensor], *, steps: int) -> Descents:
    """Return descents that start from the result of descents on a subset, and reuse their samples."""
    images, led = surface.subset_size(SUBSET), {}
    for name, fall in falls.items():
        losses, qualities = fall.start.losses[:images], fall.start.qualities[:images]
        led[name] = Descent(name, fall.radius, Point(losses, qualities), fall.slope, rise=fall.rise)
    for _ in range(steps):
        advance(
            surface, [fall for fall in led.values() if not fall.settled], images=images, correction=correction or None
        )
    return {
        name: Descent(
            name, fall.radius, fall.start, fall.slope, rise=fall.rise, opening=led[name].at,
            samples=[sample for sample in led[name].samples if sample.move is not led[name].at],
        )
        for name, fall in falls.items()
    }  # fmt: skip


def _until_settled(surface: Surface, searches: Sequence[Search]) -> None:
    todo = [search for search in searches if not search.settled]
    while todo:
        advance(surface, todo)
        todo = [search for search in todo if not search.settled and search.points < MOST_STEPS]
