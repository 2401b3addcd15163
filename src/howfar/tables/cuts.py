"""Records of curvature -> the loss along lines through every layer."""

from collections.abc import Iterable
from dataclasses import dataclass

from howfar.store import Store
from howfar.tables.curvatures import measured
from howfar.tables.landscapes import Grid


@dataclass(frozen=True)
class Cut:
    """The loss along lines through one layer of one network.

    Attributes:
        distances: from where the network stands, in radii of SAL's ball.
        gradient: change of the loss along the gradient, nats.
        random: the same along random directions, (directions, distances).
    """

    distances: list[float]
    gradient: list[float]
    random: Grid


@dataclass(frozen=True)
class Cuts:
    """Cuts through every layer of some networks of one victim and seed.

    Attributes:
        title: victim and seed.
        layers: by layer and protector.
    """

    title: str
    layers: dict[str, dict[str, Cut]]


def cuts(store: Store, keys: Iterable[str]) -> list[Cuts]:
    """Return the loss along lines through every layer, an entry per victim and seed.

    Args:
        store: where the readings are.
        keys: of those that count; readings whose lines were not kept are left out.
    """
    found: dict[tuple[str, str, int], dict[str, dict[str, Cut]]] = {}
    for one in measured(store, keys):
        record = one.record
        if not store.has_arrays("curvature", record.key):
            continue
        lines = store.arrays("curvature", record.key)
        layers = found.setdefault((one.victim, one.model, record.spec["seed"]), {})
        for name in filter(None, record.result["layers"]):
            here = lines[f"gradient:{name}"][len(lines[f"gradient:{name}"]) // 2]
            layers.setdefault(name, {})[one.protector] = Cut(
                distances=lines[f"distances:{name}"].tolist(),
                gradient=(lines[f"gradient:{name}"] - here).tolist(),
                random=(lines[f"random:{name}"] - here).tolist(),
            )
    return [Cuts(f"{model} · seed {seed}", layers) for (_, model, seed), layers in found.items()]
