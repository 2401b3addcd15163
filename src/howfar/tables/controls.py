"""Positive controls: drop and UD of one protector in growing amounts."""

from collections import defaultdict

from howfar.arrays import canonical
from howfar.score import dose_response
from howfar.store import Record
from howfar.tables.distances import Distances
from howfar.tables.groups import VictimGroup, drops_of
from howfar.tables.names import CLEAN
from howfar.tables.page import Control

AMOUNTS = ("eps", "share")
LEAST_AMOUNTS = 3


def controls(group: VictimGroup, distances: Distances) -> list[Control]:
    """Return every protector that was tried in at least three amounts, all else equal."""
    found = []
    for along in AMOUNTS:
        alike: dict[str, dict[float, dict[int, Record]]] = defaultdict(dict)
        for runs in group.runs.values():
            spec = next(iter(runs.values())).spec
            settings = {key: value for key, value in spec["protector"].items() if key != "label"}
            if along in settings:
                amount = settings.pop(along)
                alike[canonical([settings, spec["source_task"]])][amount] = runs
        for by_amount in alike.values():
            control = _control(group, along, by_amount, distances) if len(by_amount) >= LEAST_AMOUNTS else None
            if control is not None:
                found.append(control)
    return found


def _control(
    group: VictimGroup, along: str, by_amount: dict[float, dict[int, Record]], known: Distances
) -> Control | None:  # fmt: skip
    clean = group.runs.get(CLEAN, {})
    seeds = sorted(set(clean).intersection(*by_amount.values()))
    drops, distances = {}, {}
    for amount, runs in by_amount.items():
        before, after = [clean[seed] for seed in seeds], [runs[seed] for seed in seeds]
        if not seeds:
            return None
        found = known.of(before, after)
        drops[amount], distances[amount] = drops_of(before, after), found.values if found else []
    if any(len(values) < len(seeds) for values in distances.values()):
        return None
    label = min((next(iter(runs.values())).spec["protector"]["label"] for runs in by_amount.values()), key=len)
    return Control(protector=label, along=along, response=dose_response(drops, distances))
