"""The verdict in plain words: what an interval does not decide is reported as undecided."""

from collections.abc import Sequence

from howfar.report.crosstask import share
from howfar.report.numbers import change, counted, scale, shown, unit
from howfar.score import Correlation, DoseResponse, WorstCase, at_most, kept_text
from howfar.tables.decisions import (
    BASELINES,
    Judgment,
    Weakest,
    across_tasks,
    by_smallest_retention,
    hardly_learned,
    judgments,
    largest_retention,
    weakest,
)  # fmt: skip
from howfar.tables.leaderboard import Row
from howfar.tables.matrix import Matrix
from howfar.tables.page import Group
from howfar.tables.profiles import Profile

RULE = (
    "A task counts as unlearnable if the whole interval of its retention lies below 50 %, and as learnable if it lies "
    "above. Retention below 0 is worse than chance."
)
ADD_SEEDS = "Add seeds to the same command: --seeds 0-5 --until 5."


def findings(response: DoseResponse) -> list[str]:
    """Return whether drop and UD follow the amount of protection."""
    return [_trend("drop", response.drop_trend), _trend("UD", response.ud_trend)]


def verdict(groups: Sequence[Group], profiles: Sequence[Profile] = (), matrices: Sequence[Matrix] = ()) -> list[str]:
    """Return the verdict in plain words: across tasks if there are several, else one sentence per protector.

    Args:
        groups: tables of one victim and defense each.
        profiles: worst cases; they take precedence over single groups.
        matrices: what every task retains; the first one is judged.
    """
    found = weakest(profiles)
    sentences = [_worst(one) for one in found]
    if matrices:
        return sentences + across(matrices[0])
    known = {(one.profile.dataset, one.profile.task, one.protector) for one in found}
    sentences += [_hardly_learned(row) for row in hardly_learned(groups, known)]
    return sentences + [_judged(one) for one in judgments(groups, known)]


def across(matrix: Matrix) -> list[str]:
    """Return whether data is unlearnable for one task or for all, as far as the intervals decide it."""
    decided = across_tasks(matrix)
    if decided.one_seed:
        found = [_so_far(matrix, label) for label in decided.sides]
        return [*found, f"One seed has no interval and decides nothing. {ADD_SEEDS}"]
    every, none, tasks = decided.rows(True), decided.rows(False), len(matrix.columns)
    sentences = [_one_only(matrix, decided.some, decided.sides)] if decided.some else []
    if every:
        worst = [(label, largest_retention(matrix, label)) for label in every]
        kept = [f"{label} ({name} retains {_share(matrix, label, name)})" for label, name in worst]
        sentences.append(f"Unlearnable for {_all(tasks)}: {_listed(kept)}.")
    elif decided.sides:
        sentences.append(f"No tested protector is shown to make the data unlearnable for {_all(tasks)}.")
    if none:
        sentences.append(f"No protection in any task: {_listed(none)}.")
    if decided.undecided:
        kept = [f"{label} on {name} (retains {_share(matrix, label, name)})" for label, name in decided.undecided]
        sentences.append(f"Cannot tell: {_listed(kept)}. {ADD_SEEDS}")
    for label in (label for label in matrix.results if label in BASELINES):
        kept = [f"{_share(matrix, label, name)} of {name}" for name in _tasks(matrix, label)]
        sentences.append(f"The baseline {label} retains {_listed(kept)}.")
    return [*sentences, RULE]


def _tasks(matrix: Matrix, label: str) -> list[str]:
    """Return the tasks of a row, in the order of the columns."""
    return [column.name for column in matrix.columns if column.name in matrix.results[label]]


def _share(matrix: Matrix, label: str, task: str) -> str:
    return share(matrix.results[label][task].retention)


def _so_far(matrix: Matrix, label: str) -> str:
    """Return what a single seed shows of a row."""
    row = matrix.results[label]
    kept = [f"{100 * row[name].retention.value:.0f} % of {name}" for name in _tasks(matrix, label)]
    return f"So far, {label} leaves {_listed(kept)}."


def _one_only(matrix: Matrix, labels: Sequence[str], sides: dict[str, dict[str, bool | None]]) -> str:
    """Return that protection makes data unlearnable for some tasks and leaves others."""
    first, *others = by_smallest_retention(matrix, labels)
    gone = [name for name, side in sides[first].items() if side]
    left = [f"{_share(matrix, first, name)} of {name}" for name, side in sides[first].items() if side is False]
    fallen = [_fallen(matrix, first, name) for name in gone]
    one = "one task" if len(gone) == 1 else f"{len(gone)} tasks"
    also = f" The same holds for {_listed(others)}." if others else ""
    made, source = matrix.crafted.get(first, (first, ""))
    crafted = f"{made}, crafted against {source}," if source else made
    return f"{crafted} takes {_listed(fallen)} and leaves {_listed(left)}: unlearnable for {one} only.{also}"


def _fallen(matrix: Matrix, label: str, task: str) -> str:
    (column,) = (column for column in matrix.columns if column.name == task)
    result = matrix.results[label][task]
    return f"{task} from {_quality(column.metric, result.clean)} to {_quality(column.metric, result.protected)}"


def _all(tasks: int) -> str:
    return "both tasks" if tasks == 2 else f"all {tasks} tasks"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _worst(one: Weakest) -> str:
    profile, found = one.profile, one.worst
    best = found.poisoned
    learner = _named(profile.model, profile.task, best.defense)
    return (
        f"{one.protector} on {profile.dataset} {_kept(found, stopped=profile.stopped(one.protector))} "
        f"when the learner chooses among {best.tried} defenses: {learner} reaches "
        f"{_quality(profile.metric, best.quality.value)} (clean {_quality(profile.metric, found.clean.quality.value)})."
    )


def _kept(found: WorstCase, *, stopped: bool) -> str:
    """Return what the interval of the protection kept decides, as a verb and its object."""
    kept = found.kept
    if kept.n == 1:
        return f"may keep {100 * kept.value:.0f} % of its protection (1 seed cannot tell; add seeds)"
    if kept.ends is None:
        return "cannot be judged, as clean images are not told apart from chance (train longer),"
    if kept.ends[0] <= 0:
        return f"has no protection that is told apart from 0 ({at_most(found)} is kept)"
    return f"keeps {'at most ' if stopped else ''}{kept_text(found)} of its protection"


def _hardly_learned(row: Row) -> str:
    return (
        f"{_learner(row).capitalize()} learned little from the clean {row.dataset} itself "
        f"({_quality(row.metric, row.clean)}), so its results decide nothing: train longer."
    )


def _judged(one: Judgment) -> str:
    """Return the sentence about a protector without a worst case."""
    row, best = one.worst, one.best
    where = f"{_learner(row)} reaches {_quality(row.metric, row.poisoned)} (clean {_quality(row.metric, row.clean)})"
    start = f"{row.protector} on {row.dataset}"
    if one.outcome == "holds":
        return f"{start} holds against {_tested(one.rows)}: {where}."
    if one.outcome == "fails":
        return f"{start} did not protect: {where}."
    if one.outcome == "depends":
        return (
            f"{start} hurts {_learner(best)} (to {_quality(best.metric, best.poisoned)}), but {where}: "
            "a learner can get around it."
        )
    loss = change(row.metric, row.drop)
    return (
        f"{start}: these seeds cannot tell whether it protects; {where}, a drop of {loss}{unit(row.metric)}. Add seeds."
    )


def _trend(name: str, trend: Correlation) -> str:
    """Return how a measure follows the amount of protection; its direction only where the interval has one sign."""
    if trend.rank.ends is None:
        return f"rank correlation of amount and {name} {trend.rank.value:.2f}, too few amounts for an interval"
    low, high = trend.rank.ends
    known = f"(rank correlation {trend.rank.value:.2f}, {low:.2f} to {high:.2f})"
    if trend.direction == "open":
        return f"{name} is not shown to rise or fall {known}"
    return f"{name} {trend.direction}{' at every step' if trend.monotone else ', not at every step,'} {known}"


def _tested(rows: Sequence[Row]) -> str:
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
