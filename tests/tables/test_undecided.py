"""Seeds are added until a row is decided, and the decisions are right as often as they say."""

import numpy as np

from howfar.store import Record
from howfar.tables import line_of, undecided

from .test_names import record

SEEDS = range(6)
NAMES = ("em", "ops", "lsp", "ar")


def table(rows: dict[str, list[float]]) -> list[Record]:
    """Return victims of accuracies by protector and seed; clean ones reach 0.9, chance is 0.1."""
    rows = {"clean": [0.9] * max(map(len, rows.values())), **rows}
    return [record(name, seed, value) for name, values in rows.items() for seed, value in enumerate(values)]


def labels(found: set[tuple[str, str]], victims: list[Record]) -> set[str]:
    return {r.spec["protector"]["label"] for r in victims if line_of(r.spec) in found}


def test_narrow_rows_and_rows_on_one_side_are_decided() -> None:
    victims = table({"ar": [0.85, 0.75, 0.80], "em": [0.15, 0.25, 0.20], "ops": [0.40, 0.60, 0.50]})
    assert labels(undecided(victims, points=5, holds=0.5, analyses=1), victims) == {"ops"}, (
        "the others are wide, but clear"
    )
    assert not undecided(victims, points=60, holds=0.5, analyses=1)
    steady = table({"lsp": [0.49, 0.51, 0.50]})  # 0.01 · 4.303 / √3: known to 2.5 points
    assert not undecided(steady, points=2.6, holds=0.5, analyses=1)
    assert labels(undecided(steady, points=2.4, holds=0.5, analyses=1), steady) == {"lsp"}


def test_more_analyses_ask_for_more() -> None:
    victims = table({"em": [0.50, 0.53, 0.47], "ops": [0.50, 0.47, 0.53]})
    assert not undecided(victims, points=6, holds=0.9, analyses=1)
    assert labels(undecided(victims, points=6, holds=0.9, analyses=20), victims) == {"em", "ops"}


def test_one_seed_decides_nothing_and_what_was_not_learned_is_left() -> None:
    single = table({"em": [0.1]})
    assert labels(undecided(single, points=50, holds=0.5, analyses=1), single) == {"em"}
    never = [record(name, s, 0.05 + s / 50) for name in ("clean", "em") for s in (0, 1)]
    assert not undecided([r for r in never if r.spec["protector"]["label"] == "clean"], points=1, holds=0.5, analyses=1)
    assert not undecided(never, points=50, holds=0.5, analyses=1)


def test_rows_with_more_seeds_lend_their_spread_to_those_with_fewer() -> None:
    few, many = [0.30, 0.301], [[0.3 + 0.1 * (-1) ** s * k for s in range(4)] for k in (1, 2)]
    victims = table({"em": few, "ops": many[0], "lsp": many[1]})
    assert "em" in labels(undecided(victims, points=2, holds=0.9, analyses=1), victims)
    alone = table({"em": few})
    assert not undecided(alone, points=2, holds=0.9, analyses=1)


def test_decisions_at_every_analysis_are_wrong_in_less_than_one_of_twenty() -> None:
    """Rows that retain a little more than one half: whoever says that they hold is wrong."""
    rng = np.random.default_rng(0)
    wrong, tables = 0, 50
    for _ in range(tables):
        values = 0.1 + 0.8 * 0.51 + 0.08 * rng.normal(size=(4, len(SEEDS)))
        rows = dict(zip(NAMES, values.tolist(), strict=True))
        waiting, looks, held = set(NAMES), len(SEEDS) - 1, set()
        for count in SEEDS[2:]:
            victims = table({name: row[:count] for name, row in rows.items()})
            left = labels(undecided(victims, points=0.01, holds=0.5, analyses=looks), victims)
            settled = waiting - left
            held |= {name for name in settled if sum(rows[name][:count]) / count < 0.5}
            waiting &= left
        wrong += len(held)
    assert wrong / (4 * tables) < 0.05
