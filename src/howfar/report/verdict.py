"""The verdict in plain words: what an interval does not decide is reported as undecided."""

import math
from collections.abc import Iterable, Mapping, Sequence

from howfar.report.crosstask import Cell, Column, Matrix, share
from howfar.report.leaderboard import Row
from howfar.report.numbers import LEARNED, change, counted, scale, shown, unit
from howfar.report.page import Group
from howfar.report.profile import Profile
from howfar.score import Correlation, DoseResponse, Retention, WorstCase, kept_text

BASELINES = ("random", "random:class")  # protect nothing by design
RULE = (
    "A task counts as unlearnable if the whole interval of its retention lies below 50 %, and as learnable if it lies "
    "above. Retention below 0 is worse than chance."
)
BROKEN = 0.5  # protection holds where it takes more than this share of (clean − chance)


def findings(response: DoseResponse) -> list[str]:
    """Return whether drop and UD follow the amount of protection."""
    return [_trend("drop", response.drop_trend), _trend("UD", response.ud_trend)]


def verdict(
    groups: "Sequence[Group]", profiles: "Sequence[Profile]" = (), matrices: "Sequence[Matrix]" = ()
) -> list[str]:
    """Return the verdict in plain words: across tasks if there are several, else one sentence per protector.

    Args:
        groups: tables of one victim and defense each.
        profiles: worst cases; they take precedence over single groups.
        matrices: what every task retains; the first one is judged.
    """
    weakest: dict[tuple[str, str, str], tuple[Profile, WorstCase]] = {}
    for profile in profiles:
        for protector, found in profile.worst.items():
            key = profile.dataset, profile.task, protector
            if protector != "clean" and (key not in weakest or found.kept < weakest[key][1].kept):
                weakest[key] = profile, found
    ranked = sorted(weakest.items(), key=lambda item: -item[1][1].kept)
    sentences = [_worst(protector, *found) for (*_, protector), found in ranked]
    return sentences + (across(matrices[0]) if matrices else _plain(groups, set(weakest)))


def across(matrix: Matrix) -> list[str]:
    """Return whether data is unlearnable for one task or for all, as far as the intervals decide it.

    A task counts as unlearnable if the interval of its retention lies below one half, and as learnable if it lies
    above.
    """
    titles = {column.name: column for column in matrix.columns}
    rows = {label: {name: row[name] for name in titles if name in row} for label, row in matrix.cells.items()}
    sides = {
        label: {name: _side(cell.retention) for name, cell in row.items()}
        for label, row in rows.items()
        if label not in BASELINES
    }
    if matrix.seeds == (1, 1):
        return [_so_far(label, rows[label]) for label in sides] + [
            "One seed has no interval and decides nothing. Add seeds to the same command: --seeds 0-5 --until 5."
        ]
    none = [label for label, found in sides.items() if set(found.values()) == {False}]
    some = [label for label, found in sides.items() if {True, False} <= set(found.values())]
    every = [label for label, found in sides.items() if set(found.values()) == {True}]
    sentences = []
    if some:
        first, *others = sorted(some, key=lambda label: min(c.retention.value for c in rows[label].values()))
        row, found = rows[first], sides[first]
        hurt = [_fallen(titles[name], row[name]) for name, side in found.items() if side]
        left = [f"{share(row[name].retention)} of {name}" for name, side in found.items() if side is False]
        also = f" The same holds for {_listed(others)}." if others else ""
        one = "one task" if len(hurt) == 1 else f"{len(hurt)} tasks"
        sentences.append(
            f"{_crafted(first)} takes {_listed(hurt)} and leaves {_listed(left)}: unlearnable for {one} only.{also}"
        )
    if every:
        worst = [max(rows[label].items(), key=lambda item: item[1].retention.value) for label in every]
        kept = [f"{label} ({name} retains {share(c.retention)})" for label, (name, c) in zip(every, worst, strict=True)]
        sentences.append(f"Unlearnable for {_all(len(titles))}: {_listed(kept)}.")
    elif sides:
        sentences.append(f"No tested protector is shown to make the data unlearnable for {_all(len(titles))}.")
    if none:
        sentences.append(f"No protection in any task: {_listed(none)}.")
    open_ = [
        f"{label} on {name} (retains {share(rows[label][name].retention)})"
        for label, found in sides.items() for name, side in found.items() if side is None
    ]  # fmt: skip
    if open_:
        sentences.append(f"Cannot tell: {_listed(open_)}. Add seeds to the same command: --seeds 0-5 --until 5.")
    for label in (label for label in rows if label in BASELINES):
        kept = [f"{share(cell.retention)} of {name}" for name, cell in rows[label].items()]
        sentences.append(f"The baseline {label} retains {_listed(kept)}.")
    return [*sentences, RULE]


def _so_far(label: str, row: Mapping[str, Cell]) -> str:
    """Return what a single seed shows of a row."""
    kept = [f"{100 * cell.retention.value:.0f} % of {name}" for name, cell in row.items()]
    return f"So far, {label} leaves {_listed(kept)}."


def _crafted(label: str) -> str:
    """Return a row's name for the beginning of a sentence, its source task in words."""
    name, _, source = label.partition(" ← ")
    return f"{name}, crafted against {source}," if source else name


def _all(tasks: int) -> str:
    return "both tasks" if tasks == 2 else f"all {tasks} tasks"


def _side(kept: Retention) -> bool | None:
    """Return whether a task is unlearnable; None where the interval does not tell."""
    if kept.low is None or kept.high is None or kept.low <= 1 - BROKEN <= kept.high:
        return None
    return kept.high < 1 - BROKEN


def _fallen(column: Column, cell: Cell) -> str:
    return f"{column.name} from {_quality(column.metric, cell.clean)} to {_quality(column.metric, cell.protected)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _worst(protector: str, profile: Profile, found: WorstCase) -> str:
    best = found.poisoned
    learner = _named(profile.model, profile.task, best.defense)
    return (
        f"{protector} on {profile.dataset} {_kept(found, stopped=profile.stopped(protector))} "
        f"when the learner chooses among {best.tried} defenses: {learner} reaches "
        f"{_quality(profile.metric, best.quality)} (clean {_quality(profile.metric, found.clean.quality)})."
    )


def _kept(found: WorstCase, *, stopped: bool) -> str:
    """Return what the interval of the protection kept decides, as a verb and its object."""
    if found.seeds == 1:
        return f"may keep {100 * found.kept:.0f} % of its protection (1 seed cannot tell; add seeds)"
    if found.low is None or found.high is None:
        return "cannot be judged, as clean images are not told apart from chance (train longer),"
    if found.low <= 0:
        return f"has no protection that is told apart from 0 ({kept_text(found).partition(',')[0]} is kept)"
    return f"keeps {'at most ' if stopped else ''}{kept_text(found)} of its protection"


def _plain(groups: "Sequence[Group]", known: set[tuple[str, str, str]]) -> list[str]:
    """Return a sentence for every protector without a worst case."""
    best: dict[tuple[str, str, str], list[tuple[float, Row]]] = {}  # how far clean models got from chance
    sentences = []
    for group in groups:
        for row in group.rows:
            learned = _way(row.metric, row.clean, group.chance)
            if (row.dataset, row.task, row.protector) in known:
                continue
            if row.protector != "clean" and learned >= LEARNED:
                way = abs(row.clean - group.chance)
                best.setdefault((row.dataset, row.task, row.protector), []).append((way, row))
            elif row.protector == "clean" and learned < LEARNED:
                little = f"{_learner(row).capitalize()} learned little from the clean {row.dataset} itself"
                sentences.append(
                    f"{little} ({_quality(row.metric, row.clean)}), so its results decide nothing: train longer."
                )
    for (dataset, _, protector), found in sorted(best.items(), key=lambda item: -min(map(_taken, item[1]))):
        (_, row), (_, top) = min(found, key=_taken), max(found, key=_taken)
        where = (
            f"{_learner(row)} reaches {_quality(row.metric, row.poisoned)} (clean {_quality(row.metric, row.clean)})"
        )
        bounds = [_bounds(way, one) for way, one in found]
        if all(low > BROKEN for low, _ in bounds):
            sentences.append(f"{protector} on {dataset} holds against {_tested(one for _, one in found)}: {where}.")
        elif all(high <= BROKEN for _, high in bounds):
            sentences.append(f"{protector} on {dataset} did not protect: {where}.")
        elif any(low > BROKEN for low, _ in bounds) and any(high <= BROKEN for _, high in bounds):
            sentences.append(
                f"{protector} on {dataset} hurts {_learner(top)} "
                f"(to {_quality(top.metric, top.poisoned)}), but {where}: a learner can get around it."
            )
        else:
            loss = change(row.metric, row.drop, row.drop_low, row.drop_high)
            sentences.append(
                f"{protector} on {dataset}: these seeds cannot tell whether it protects; {where}, "
                f"a drop of {loss}{unit(row.metric)}. Add seeds."
            )
    return sentences


def _taken(found: tuple[float, Row]) -> float:
    """Return the share of (clean − chance) that is taken."""
    way, row = found
    return row.drop / way


def _bounds(way: float, row: Row) -> tuple[float, float]:
    """Return the interval of the share of (clean − chance) that is taken; one seed leaves it open on both sides."""
    if row.drop_low is None or row.drop_high is None:
        return -math.inf, math.inf
    return row.drop_low / way, row.drop_high / way


def _trend(name: str, trend: Correlation) -> str:
    """Return how a measure follows the amount of protection; its direction only where the interval has one sign."""
    if trend.low is None or trend.high is None:
        return f"rank correlation of amount and {name} {trend.value:.2f}, too few amounts for an interval"
    way = "rises" if trend.low > 0 else "falls" if trend.high < 0 else "is not shown to rise or fall"
    steps = "" if way.startswith("is") else " at every step" if trend.monotone else ", not at every step,"
    return f"{name} {way}{steps} (rank correlation {trend.value:.2f}, {trend.low:.2f} to {trend.high:.2f})"


def _tested(rows: Iterable[Row]) -> str:
    """Return what was tested, so that nobody takes one learner for all of them."""
    learners = {(row.model, row.defense) for row in rows}
    if len(learners) == 1:
        return "the only learner tested"
    networks = counted(len({model for model, _ in learners}), "network")
    defenses = len({defense for _, defense in learners} - {"none"})
    return f"all {len(learners)} learners tested ({networks}, {counted(defenses, 'defense')})"


def _learner(row: Row) -> str:
    return _named(row.model, row.task, row.defense)


def _named(model: str, task: str, defense: str) -> str:
    name = model if task == "classification" else f"{model} on {task}"
    whole = f"undefended {name}" if defense == "none" else f"{name} with {defense}"
    return f"{'an' if whole[0] in 'aeiou' else 'a'} {whole}"


def _quality(metric: str, value: float) -> str:
    if scale(metric) > 1:
        return f"{100 * value:.0f} %"
    return f"{metric} {shown(metric, value)}{unit(metric).replace(' in', '')}"


def _way(metric: str, clean: float, chance: float) -> float:
    """Return how far a clean model got from chance: as a share of the whole way where there is an end to it."""
    if scale(metric) > 1:
        return clean - chance
    return abs(clean - chance) / max(abs(chance), 1e-9)
