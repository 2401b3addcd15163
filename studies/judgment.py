"""The answers of the judgment in docs/alignment.md, drawn from results/standard and results/alignment-judgment.

Run: ``python studies/judgment.py`` prints every table.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from alignment import rivals
from alignment_judgment import LEVELS, METHODS, SHARES
from drawn import code, study, table
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata, spearmanr

from howfar.score import Estimate, learning_alignment
from howfar.store import Record, Store
from howfar.tables import decisions
from howfar.tables.groups import VictimGroup, cosines_of, drops_of, grouped, mean_quality
from howfar.tables.names import CLEAN

FAMILIES = {
    "error-minimizing": ("em", "em:class", "rem", "sem", "pue", "tue", "cp", "aue", "mi-ue", "uc"),
    "error-maximizing": ("tap", "aap", "sep", "ntga", "delusive", "delusive:p4", "delusive:p5", "hypo", "entf"),
    "shortcuts": ("random:class", "ops", "lsp", "ar", "pil", "cuda", "stripes", "waves", "layered", "woven",
                  "carriers"),
    "generators": ("dc", "gue", "mtl-ue"),
}  # fmt: skip
ORIGINALS = "loss on the clean originals"
DIRECTIONS = {
    "alignment": -1,
    ORIGINALS: 1,
    "training loss, last epoch": -1,
    "SAL ÷ training loss": 1,
    "UD": -1,
}  # as drop grows
PLACEBOS = {
    "random": "random noise", "placebo": "JPEG 90", "placebo:crop": "crop to 7/8, scaled back",
    "placebo:color-jitter": "color jitter", "placebo:reordered": "order of the images within each class",
    "placebo:mismatched": "*wrong labels for half of the images*",
}  # fmt: skip
SMALL = "airbench:16-32-32"
DATA = {
    "npz:cifar100.npz": "CIFAR-100, 20 classes",
    "rooms": "scenes of rooms",
    "folder:clothing_160": "photographs of clothes",
}
SEGMENTS = "segment_semantic"
BASE = f"{SMALL}, 6 epochs of nesterov, crop and flip"
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Run:
    """One victim.

    Attributes:
        drop: against the clean victim of the same seed, in the metric's own units.
        quality: of the victim.
        scores: by name of the measure; ``alignment`` and its rivals, over the whole run.
        early: the same after the first quarter of the epochs, and what else is known by then.
    """

    drop: float
    quality: float
    scores: dict[str, float]
    early: dict[str, float]


_runs: dict[int, tuple[VictimGroup, dict[str, list[Run]]]] = {}  # every table asks for them


def runs_of(group: VictimGroup) -> dict[str, list[Run]]:
    """Return the runs of every protector that share a seed with a clean one."""
    if id(group) not in _runs:
        _runs[id(group)] = group, _read(group)
    return _runs[id(group)][1]


def _read(group: VictimGroup) -> dict[str, list[Run]]:
    found = {}
    for label, (clean, protected) in group.rows().items():
        if label != CLEAN:
            found[label] = [_run(before, after) for before, after in zip(clean, protected, strict=True)]
    return found


def _run(clean: Record, record: Record) -> Run:
    epochs, metric = record.result["epochs"], record.result["metric"]
    quarter, cosines = max(len(epochs) // 4, 1), cosines_of(record)
    before, after = ((one[quarter - 1].get("validation") or one[quarter - 1]["test"])[metric]
                     for one in (clean.result["epochs"], epochs))  # fmt: skip
    (drop,) = drops_of([clean], [record])
    return Run(
        drop,
        record.result["quality"],
        {"alignment": learning_alignment(cosines), **_rivals(clean, record, len(epochs))},
        {
            "alignment": learning_alignment(cosines[:quarter]),
            "clean validation accuracy": before - after,
            **_rivals(clean, record, quarter),
        },
    )


def _rivals(clean: Record, record: Record, epochs: int) -> dict[str, float]:
    """Return what else is known of the first epochs of a run."""
    loss = record.result["epochs"][epochs - 1].get("originals", {}).get("loss")
    return {ORIGINALS: math.nan if loss is None else loss, **rivals(clean, record, epochs)}


def rank(one: Iterable[float], other: Iterable[float]) -> float:
    known = [(a, b) for a, b in zip(one, other, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return float(spearmanr(*zip(*known, strict=True)).statistic) if len(known) > 2 else math.nan


def correlation(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Return the rank correlation with 95 % of a bootstrap over the pairs."""
    pairs = np.array([one, other]).T
    drawn = pairs[np.random.default_rng(0).integers(len(pairs), size=(DRAWS, len(pairs)))]
    if np.isfinite(pairs).all():
        draws = rank_rows(drawn[..., 0], drawn[..., 1])
    else:
        draws = np.array([rank(*each.T) for each in drawn])
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(rank(one, other), float(low), float(high), len(pairs), "bootstrap")


def rank_rows(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank correlation of every pair of rows, (rows, n) each -> (rows,); NaN where a row is constant."""
    first, second = (rankdata(rows, axis=1) - (rows.shape[1] + 1) / 2 for rows in (one, other))
    squares = (first**2).sum(1) * (second**2).sum(1)
    return np.where(squares > 0, (first * second).sum(1) / np.sqrt(np.maximum(squares, 1e-30)), math.nan)


def measures(runs: dict[str, list[Run]]) -> list[str]:
    return list(next(iter(runs.values()))[0].scores)


def ranked(runs: dict[str, list[Run]]) -> dict[str, Estimate]:
    """Return, by measure, the rank correlation of protectors' mean score with their mean drop."""
    drops = [float(np.mean([run.drop for run in one])) for one in runs.values()]
    found = {}
    for name in measures(runs):
        scores = [float(np.mean([run.scores[name] for run in one])) for one in runs.values()]
        found[name] = correlation(scores, drops)
    return found


def early_error(runs: Iterable[tuple[str, Run]], name: str) -> float:
    """Return the mean absolute error, in the metric's units, with which a measure of the first quarter tells the drop.

    A monotone function is fitted to all other protectors; the one that is left out is predicted.
    """
    pairs = [(label, run.early[name], run.drop) for label, run in runs if math.isfinite(run.early[name])]
    errors = []
    for label in {label for label, _, _ in pairs}:
        known = sorted((x, y) for other, x, y in pairs if other != label)
        x, y = np.array(known).T
        fits = (isotonic_regression(y, increasing=rising).x for rising in (True, False))
        best = min(fits, key=lambda fit: float(((fit - y) ** 2).sum()))
        errors += [abs(float(np.interp(value, x, best)) - drop) for one, value, drop in pairs if one == label]
    return float(np.mean(errors))


def tables_of(store: Store, **wanted: str) -> list[VictimGroup]:
    """Return the tables of a store whose names are as wanted: ``model``, ``defense``."""
    victims = [record for record in store.records("victim") if record.status == "done"]
    return [one for one in grouped(victims) if all(one.labels[key] == value for key, value in wanted.items())]


def clean_victims(group: VictimGroup) -> list[Record]:
    """Return the clean victims of all seeds."""
    return list(group.runs[CLEAN].values())


def has_learned(group: VictimGroup) -> bool:
    """Return whether there are clean victims, far enough above chance for anything to follow."""
    victims = clean_victims(group)
    if not victims:
        return False
    result = victims[0].result
    return decisions.has_learned(result["metric"], mean_quality(victims), result["chance"])


def mean_of(runs: Sequence[Run], name: str) -> float:
    """Return the mean of a measure over seeds, or of the ``drop``."""
    return float(np.mean([run.drop if name == "drop" else run.scores[name] for run in runs]))


def error_of(runs: Sequence[Run], name: str) -> float:
    """Return the standard error of the mean over seeds; 0 for one seed."""
    values = [run.scores[name] for run in runs]
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def ranking(runs: dict[str, list[Run]]) -> str:
    """Return how every measure ranks protectors by their drop, and the error of its early prediction."""
    pairs = [(label, run) for label, found in runs.items() for run in found]
    ranks = ranked(runs)
    rows = [
        [name, shown(ranks[name]) if name in ranks else "–", f"{100 * early_error(pairs, name):.1f}"]
        for name in pairs[0][1].early
    ]
    return table(["measure", "Spearman with drop", "error of the early prediction, points"], rows)


def shown(found: Estimate) -> str:
    """Return a correlation with its interval."""
    return f"{found.value:.2f} (95 % CI {found.low:.2f} to {found.high:.2f}, n = {found.n})"


def by_protector(group: VictimGroup) -> str:
    """Return test accuracy and alignment of every protector."""
    runs = runs_of(group)
    rows = [
        [code(label), f"{100 * np.mean([run.quality for run in found]):.1f}", f"{mean_of(found, 'alignment'):.2f}",
         str(len(found))]
        for label, found in sorted(runs.items(), key=lambda item: mean_of(item[1], "drop"))
    ]  # fmt: skip
    return table(["protector", "test accuracy, %", "alignment", "seeds"], rows)


def families(runs: dict[str, list[Run]]) -> str:
    """Return how alignment and the loss on the clean originals rank the protectors of each family."""
    rows = []
    for family, names in FAMILIES.items():
        members = {label: found for label, found in runs.items() if label in names}
        if len(members) > 2:
            ranks = ranked(members)
            rows.append([family, str(len(members)), *(f"{ranks[name].value:.2f}" for name in ("alignment", ORIGINALS))])
    return table(["family", "protectors", "alignment", ORIGINALS], rows)


def placebos(group: VictimGroup) -> str:
    """Return drop and alignment of every change that protects nothing, and of wrong labels."""
    runs = {label: found for label, found in runs_of(group).items() if label in PLACEBOS}
    rows = [
        [PLACEBOS[label], f"{100 * mean_of(found, 'drop'):.1f}", f"{mean_of(found, 'alignment'):.2f}"]
        for label, found in sorted(runs.items(), key=lambda item: mean_of(item[1], "drop"))
    ]
    return table(["placebo", "drop, points", "alignment (goal: at least 0.9)"], rows)


def steered(group: VictimGroup) -> str:
    """Return drop, alignment and the loss on the clean originals of every protector that knows the measure."""
    rows = []
    for label, found in runs_of(group).items():
        settings = next(iter(group.runs[label].values())).spec["protector"]
        if settings["name"] == "steered":
            numbers = [mean_of(found, name) for name in ("alignment", ORIGINALS)]
            numbered = [
                f"{settings['weight']:g}",
                f"{100 * mean_of(found, 'drop'):.1f}",
                *(f"{x:.2f}" for x in numbers),
            ]
            rows.append([settings["goal"], *numbered])
    rows.sort(key=lambda row: (row[0], float(row[1])))
    return table(["goal", "weight of the cosine", "drop, points", "alignment", ORIGINALS], rows) if rows else ""


def doses(group: VictimGroup, setting: str) -> str:
    """Return drop and alignment of every method along ``eps`` or ``share``, and which measures are monotone."""
    other = "share=" if setting == "eps" else "eps="  # one setting at a time
    steps = [level / 255 for level in LEVELS] if setting == "eps" else list(SHARES)
    amounts: dict[str, dict[float, list[Run]]] = {}
    for label, found in runs_of(group).items():
        settings = next(iter(group.runs[label].values())).spec["protector"]
        if settings.get(setting) in steps and other not in label:
            amounts.setdefault(label.partition("[")[0], {})[settings[setting]] = found
    amounts = {name: dict(sorted(each.items())) for name, each in amounts.items() if len(each) == len(steps)}
    head = [f"{255 * step:.0f}/255" if setting == "eps" else f"{100 * step:.0f} %" for step in steps]
    rows = []
    for name, each in amounts.items():
        cells = [f"{100 * mean_of(runs, 'drop'):.0f} · {mean_of(runs, 'alignment'):.2f}" for runs in each.values()]
        steady = [measure for measure in DIRECTIONS if monotone(list(each.values()), measure)]
        rows.append([code(name), *cells, ", ".join(steady) or "none"])
    return table([f"drop, points · alignment at {setting}", *head, "monotone"], rows) if rows else ""


def monotone(along: Sequence[Sequence[Run]], measure: str) -> bool:
    """Return whether a measure goes its way along the amounts, but for steps of at most two standard errors."""
    steps = [
        DIRECTIONS[measure] * (mean_of(after, measure) - mean_of(before, measure))
        + 2 * math.hypot(error_of(before, measure), error_of(after, measure))
        for before, after in pairwise(along)
    ]
    return all(step >= 0 for step in steps)


def orders(found: Sequence[VictimGroup]) -> str:
    """Return how measures rank the same protectors for every network, recipe, data set and defense."""
    others = [measure for measure in DIRECTIONS if measure != "alignment"]
    rows = []
    for group in found:
        runs = {label: each for label, each in runs_of(group).items() if label in METHODS}
        ranks = ranked(runs)
        rows.append([
            victim_of(group), f"{100 * mean_quality(clean_victims(group)):.1f}", str(min(map(len, runs.values()))),
            shown(ranks["alignment"]), *(f"{ranks[name].value:.2f}" for name in others),
        ])  # fmt: skip
    return table(["victim", "clean accuracy, %", "seeds", "alignment", *others], rows)


def victim_of(group: VictimGroup) -> str:
    """Return network, epochs, optimizer, augmentation and defense, and the data set unless it is CIFAR-10."""
    recipe, data = group.spec["recipe"], group.labels["dataset"]
    augmented = "crop and flip" if recipe["crop"] else "flip" if recipe["flip"] else "no augmentation"
    defense = "" if group.labels["defense"] == "none" else f", {group.labels['defense']}"
    named = "" if data == "cifar10" else f", {DATA.get(data.partition(' ')[0], data)}"
    epochs = f"{recipe['epochs']} epochs of {recipe['optimizer']}"
    return f"{group.spec['model']['label']}, {epochs}, {augmented}{defense}{named}"


def by_task(found: Sequence[VictimGroup]) -> str:
    """Return retention and alignment of every protector on every task; without ←, crafted against scenes or no task."""
    names = [group.labels["task"] for group in found]
    rows: dict[str, list[str]] = {}
    for group in found:
        for name, runs in by_source(group).items():
            cell = f"{100 * retained(group, runs):.0f} · {mean_of(runs, 'alignment'):.2f}"
            rows.setdefault(name, ["–"] * len(found))[names.index(group.labels["task"])] = cell
    return table(["retention, % · alignment", *names], [[code(label), *cells] for label, cells in sorted(rows.items())])


def by_source(group: VictimGroup) -> dict[str, list[Run]]:
    """Return the runs of every protector, named alike in all groups, with its source task if that is segments."""
    found = {}
    for label, runs in runs_of(group).items():
        spec = next(iter(group.runs[label].values())).spec
        source = " ← segments" if (spec["source_task"] or {}).get("name") == SEGMENTS else ""
        found[spec["protector"]["label"] + source] = runs
    return found


def retained(group: VictimGroup, runs: Sequence[Run]) -> float:
    """Return the share of the clean victims' quality above chance that is left, over seeds."""
    victims = clean_victims(group)
    clean, chance = mean_quality(victims), victims[0].result["chance"]
    return float((np.mean([run.quality for run in runs]) - chance) / (clean - chance))


def restored(found: Sequence[VictimGroup], what: str, names: Sequence[str] | None = None) -> str:
    """Return how measures rank all pairs, such as protector and defense, by retention.

    Args:
        found: one group for each defense or task.
        what: the pairs are of.
        names: protectors; None takes all.
    """
    runs = [by_source(group) for group in found]
    labels = [label for label in runs[0] if names is None or label in names]
    kept = np.array(
        [[retained(group, each[label]) for group, each in zip(found, runs, strict=True)] for label in labels]
    )
    rows = []
    for name in runs[0][labels[0]][0].scores:
        scores = np.array([[mean_of(each[label], name) for each in runs] for label in labels])
        rows.append([name, shown(crossed_correlation(scores, kept))])
    return table(["measure", f"Spearman with retention, over {what}"], rows)


def crossed_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> Estimate:
    """Return the rank correlation over all cells of two tables, rows and columns drawn anew in every bootstrap sample.

    Cells of a row, such as one protector on several victims, are not independent (pigeonhole bootstrap, Owen 2007).
    """
    generator = np.random.default_rng(0)
    rows, columns = (generator.integers(size, size=(DRAWS, size)) for size in one.shape)
    drawn = (values[rows[:, :, None], columns[:, None, :]].reshape(DRAWS, -1) for values in (one, other))
    low, high = np.nanpercentile(rank_rows(*drawn), [2.5, 97.5])
    return Estimate(rank(one.ravel(), other.ravel()), float(low), float(high), one.size, "bootstrap")


def tables() -> dict[str, str]:
    """Return the tables of docs/alignment.md that the runs so far allow."""
    (full,) = tables_of(study("standard"), defense="none")
    every = [group for group in tables_of(study("alignment-judgment")) if has_learned(group)]
    complete = [group for group in every if set(METHODS) <= set(group.rows())]
    small = [group for group in complete if group.labels["dataset"] == "cifar10"]
    data = [group for group in complete if group not in small and group.labels["model"] == SMALL]
    tasks = [group for group in every if group.labels["dataset"] != "cifar10" and group not in data]
    base = next(group for group in small if victim_of(group) == BASE)
    plain = [group for group in small if group.labels["defense"] == "none"]
    defended = [
        group
        for group in small
        if (group.spec["recipe"], group.spec["model"]) == (base.spec["recipe"], base.spec["model"])
    ]
    found = {
        "judgment: full size": ranking(runs_of(full)),
        "judgment: full size, by protector": by_protector(full),
        "judgment: families": families(runs_of(full)),
        "judgment: small": ranking({label: runs for label, runs in runs_of(base).items() if label in METHODS}),
        "judgment: placebos": placebos(base),
        "judgment: steered": steered(base),
        "judgment: eps": doses(base, "eps"),
        "judgment: share": doses(base, "share"),
    }
    if data:
        found["judgment: data"] = orders(data)
    if tasks:
        found |= {"judgment: tasks": by_task(tasks), "judgment: across tasks": restored(tasks, "protectors and tasks")}
    if len(plain) > 1:
        found["judgment: victims"] = orders(plain)
        found["judgment: everywhere"] = restored([*plain, *data], "protectors and victims", METHODS)
    if len(defended) > 1:
        found |= {
            "judgment: defenses": orders(defended[1:]),
            "judgment: restored": restored(defended, "protectors and defenses", METHODS),
        }
    return {name: text for name, text in found.items() if text}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in tables().items():
        print(f"{name}\n\n{text}")


if __name__ == "__main__":
    main()
