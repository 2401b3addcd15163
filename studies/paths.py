"""Paths and curvature of victims' weights, as ``howfar trajectory`` and ``curvature`` found them; tables alone.

docs/landscape.md holds the commands. Paths themselves are not kept, only what was found of them.
"""

from drawn import code, study, table

from howfar.report.numbers import plus_minus, ranged
from howfar.score import Estimate, from_json
from howfar.tables import CLEAN
from howfar.tables.curvatures import curvatures

NETWORKS = {"cifar10": ("resnet8[width=8]",), "mnist": ("lenet5", "linear[inputs=12]")}


def tables() -> dict[str, str]:
    """Return the tables of docs/landscape.md, from the records of both data sets."""
    return {
        "landscape: paths, CIFAR-10": paths("cifar10"),
        "landscape: paths, MNIST": paths("mnist"),
        "landscape: curvature": curvature(),
    }


def paths(dataset: str) -> str:
    """Return how many weights end elsewhere because of the data, most effective protector first."""
    store = study(f"landscape-{dataset}")
    quality: dict[tuple[str, str], list[float]] = {}
    for record in store.records("trajectory"):
        cell = record.spec["model"]["label"], record.spec["protector"]["label"]
        quality.setdefault(cell, []).append(100 * record.result["quality"])
    means = {cell: sum(values) / len(values) for cell, values in quality.items()}
    columns = [
        "victim", "protector", "accuracy, %", "parameters that differ, %", "layers that differ, %",
        "parameters that turn back, %", "the same between two clean runs, %",
    ]  # fmt: skip
    found = {(r.spec["model"], r.spec["protector"]): r.result for r in store.records("departure")}
    lines = []
    for model in NETWORKS[dataset]:
        lines.append([code(model), "clean", f"{means[model, 'clean']:.1f}", "", "", "", ""])
        for cell in sorted((cell for cell in found if cell[0] == model), key=lambda cell: means[cell]):
            names = ("parameters", "layers", "turns_back", "clean_turns_back")
            shares = [plus_minus(from_json(found[cell][name], 1, "t"), ".0f", 100) for name in names]
            lines.append([code(model), code(cell[1]), f"{means[cell]:.1f}", *shares])
    return table(columns, lines)


def curvature() -> str:
    """Return SAL, leading eigenvalue and trace at the end of training; clean first, then the lowest SAL."""
    columns = [
        "victim", "protector", "SAL ÷ clean", "layers with lower SAL, %", "largest eigenvalue", "trace",
        "SAL ~ gradient", "SAL ~ eigenvalue", "SAL ~ both",
    ]  # fmt: skip
    lines = []
    for dataset, networks in NETWORKS.items():
        store = study(f"landscape-{dataset}")
        found = curvatures(store, store.keys("curvature"))
        for one in sorted(found, key=lambda one: (networks.index(one.model), one.protector != CLEAN, one.ratio.value)):
            plain = one.protector == CLEAN
            ranks = (one.linear, one.quadratic, one.taylor)
            lines.append([
                code(one.model), "clean" if plain else code(one.protector), "1" if plain else ranged(one.ratio),
                "" if plain else plus_minus(one.lower, ".0f", 100), _half(one.top), _half(one.trace),
                *map(ranged, ranks),
            ])  # fmt: skip
    return table(columns, lines)


def _half(mean: Estimate) -> str:
    """Return a mean with half of its interval, each with two digits that count."""
    whole = f"{_short(mean.value)}"
    return whole if mean.ends is None else f"{whole} ± {_short((mean.ends[1] - mean.ends[0]) / 2)}"


def _short(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
