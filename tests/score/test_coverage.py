"""Every interval holds the truth about as often as it says: simulations with fixed seeds."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from howfar.score import (
    Estimate,
    Trials,
    dose_response,
    drop,
    rank_correlation,
    retention,
    unlearnable_distance,
    worst_case,
)
from howfar.score.correlation import mean_correlation
from howfar.score.intervals import mean_interval, pooled
from howfar.score.unlearnable_distance import two_means

from .test_unlearnable_distance import Fake

Floats = NDArray[np.float64]
LEAST, MOST = 0.93, 0.97  # of a nominal 95 %
LAYERS, EPOCHS = 12, 8


def holds(ends: tuple[float | None, float | None], truth: float) -> bool:
    low, high = ends
    assert low is not None
    assert high is not None
    return low - 1e-12 <= truth <= high + 1e-12


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_student(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = [holds(mean_interval(values.tolist()), 3.0) for values in rng.normal(3, 2, (3000, seeds))]
    assert LEAST <= np.mean(found) <= MOST


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("scatter", [0.0, 1.0])
@pytest.mark.parametrize(("rows", "seeds"), [(3, 3), (6, 2), (6, 3), (6, 5), (12, 3)])
def test_rows_of_a_table(rows: int, seeds: int, scatter: float, shared: float) -> None:
    """Rows that share their clean runs, and scatter alike or differently: standard deviations within a factor of 3."""
    rng, found = np.random.default_rng(rows * seeds), []
    for _ in range(600):
        spreads = np.exp(rng.normal(0, scatter / 2, (rows, 1)))
        common, own = rng.normal(size=(1, seeds)), rng.normal(size=(rows, seeds))
        table = spreads * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
        spread = pooled(table.tolist())
        found += [holds(mean_interval(row.tolist(), spread=spread), 0.0) for row in table]
    assert LEAST <= np.mean(found) <= MOST


def test_a_row_that_scatters_more_keeps_its_own_spread() -> None:
    quiet = [[0.0, 0.01, -0.01], [0.0, -0.02, 0.02], [0.01, 0.0, 0.0], [0.0, 0.01, 0.02]]
    loud = [0.0, 1.0, -1.0]
    spread = pooled([*quiet, loud])
    assert spread is not None
    _, alone = mean_interval(loud)
    _, high = mean_interval(loud, spread=spread)
    assert alone is not None
    assert high is not None
    assert high == alone
    _, far = mean_interval(quiet[0], spread=spread)
    assert far is not None
    assert far > 0.1, "three seeds that agree by chance promise nothing"


def test_few_values_tell_nothing_of_a_spread() -> None:
    assert mean_interval([0.5]) == (None, None)
    assert mean_interval([0.5], spread=pooled([[1.0, 2.0], [2.0, 4.0]])) == (None, None)
    assert pooled([[1.0, 2.0]]) is None
    assert pooled([[1.0], [2.0]]) is None
    alike = pooled([[1.0, 1.0], [2.0, 2.0]])
    assert alike is not None
    assert alike.variance == 0


def test_degrees_of_freedom_of_rows_that_move_together() -> None:
    """Rows that differ by a constant are as good as one row; independent ones add up."""
    rng = np.random.default_rng(0)
    seed = rng.normal(size=5)
    together = pooled([(seed + shift).tolist() for shift in range(6)])
    assert together is not None
    assert together.freedom == pytest.approx(4)
    apart = [pooled(rng.normal(size=(40, 3)).tolist()) for _ in range(200)]
    assert np.median([spread.freedom for spread in apart if spread]) > 60


@pytest.mark.parametrize("seeds", [3, 5])
def test_drop(seeds: int) -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(600):
        clean = 0.8 + rng.normal(0, 0.02, seeds)
        rows = [0.8 - truth + rng.normal(0, 0.03, seeds) for truth in (0.0, 0.2, 0.5, 0.6)]
        spread = pooled([(clean - row).tolist() for row in rows])
        for truth, row in zip((0.0, 0.2, 0.5, 0.6), rows, strict=True):
            one = drop(clean.tolist(), row.tolist(), spread=spread)
            found.append(holds((one.low, one.high), truth))
    assert LEAST <= np.mean(found) <= MOST


def runs(rng: np.random.Generator, scale: float, drift: float, count: int) -> Floats:
    """Return SAL of runs, (count, epochs, layers): half of the layers are high, and a seed moves a whole run."""
    high = np.where(np.arange(LAYERS) % 2 == 0, 1.0, 0.25)
    moved = np.exp(rng.normal(0, drift, (count, 1, 1)))
    sal: Floats = scale * high * moved * np.exp(rng.normal(0, 0.25, (count, EPOCHS, LAYERS)))
    return sal


def readings(sal: Floats, error: float = 0.0) -> list[dict[str, Fake]]:
    return [{f"l{k}": Fake(float(v), error * float(v)) for k, v in enumerate(epoch)} for epoch in sal]


def uds(clean: Floats, poisoned: Floats) -> Floats:
    beta = two_means(clean).mean(-1)[:, None, None]
    found: Floats = (poisoned > beta).sum((1, 2)) / (clean > beta).sum((1, 2))
    return found


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("drift", [0.1, 0.35])
def test_unlearnable_distance_in_a_table(seeds: int, drift: float) -> None:
    """The percentile bootstrap over seeds covered 69 % with three seeds and 78 % with five."""
    rng, scales, many = np.random.default_rng(2), (0.4, 0.5, 0.65, 0.8, 1.0), 800
    clean = runs(rng, 1.0, drift, many * seeds)
    table = np.stack([uds(clean, runs(rng, scale, drift, many * seeds)) for scale in scales])
    truth, found = table.mean(1), []
    for start in range(0, many * seeds, seeds):
        rows = table[:, start : start + seeds].tolist()
        spread = pooled(rows)
        found += [holds(mean_interval(row, spread=spread), one) for row, one in zip(rows, truth, strict=True)]
    assert LEAST <= np.mean(found) <= MOST


def test_unlearnable_distance_of_three_pairs_alone() -> None:
    rng, many = np.random.default_rng(3), 1500
    clean, poisoned = runs(rng, 1.0, 0.1, many * 3), runs(rng, 0.75, 0.1, many * 3)
    truth, found = uds(clean, poisoned).mean(), []
    for start in range(0, many * 3, 3):
        values = uds(clean[start : start + 3], poisoned[start : start + 3])
        found.append(holds(mean_interval(values.tolist()), float(truth)))
    one, other = ([readings(sal) for sal in kind[-3:]] for kind in (clean, poisoned))
    distance = unlearnable_distance(one, other)
    assert distance.values == pytest.approx(values)
    assert (distance.ud.low, distance.ud.high) == pytest.approx(mean_interval(values.tolist()))
    assert LEAST <= np.mean(found) <= MOST


def test_probe_error_is_the_scatter_over_probe_images() -> None:
    """One fixed pair of runs whose SALs are read again and again, each time on other images."""
    rng, noise = np.random.default_rng(4), 0.1
    clean, poisoned = runs(rng, 1.0, 0.0, 1)[0], runs(rng, 0.7, 0.0, 1)[0]
    values, errors = [], []
    for _ in range(150):
        one, other = (sal * (1 + noise * rng.normal(size=sal.shape)) for sal in (clean, poisoned))
        distance = unlearnable_distance(readings(one, noise), readings(other, noise))
        values.append(distance.ud.value)
        errors.append(distance.probe_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


@pytest.mark.parametrize("truth", [0.0, 0.3, 1.0, -3.0])
@pytest.mark.parametrize(("seeds", "noise"), [(3, 0.05), (3, 0.2), (5, 0.3)])
def test_retention(seeds: int, noise: float, truth: float) -> None:
    """Clean models whose distance from chance is itself noisy, up to a third of it from seed to seed."""
    rng, found = np.random.default_rng(5), []
    for _ in range(2500):
        clean = 0.1 + 0.5 * (1 + noise * rng.normal(size=seeds))
        protected = 0.1 + truth * (clean - 0.1) + 0.5 * noise * max(0.5, abs(truth)) * rng.normal(size=seeds)
        one = retention(clean.tolist(), protected.tolist(), chance=0.1)
        if one.low is not None:
            found.append(holds((one.low, one.high), truth))
    assert len(found) > 2000
    assert LEAST <= np.mean(found) <= MOST


def test_retention_in_a_table() -> None:
    rng, truths, found = np.random.default_rng(6), (0.0, 0.3, 0.9, 1.0), []
    for _ in range(800):
        clean = 0.6 + 0.04 * rng.normal(size=3)
        rows = [(0.1 + truth * (clean - 0.1) + 0.03 * rng.normal(size=3)).tolist() for truth in truths]
        for place, truth in enumerate(truths):
            others = [row for other, row in enumerate(rows) if other != place]
            one = retention(clean.tolist(), rows[place], chance=0.1, others=others)
            found.append(holds((one.low, one.high), truth))
    assert LEAST <= np.mean(found) <= MOST


@pytest.mark.parametrize("gap", [0.0, 0.1])
@pytest.mark.parametrize("defenses", [1, 10])
def test_worst_case(defenses: int, gap: float) -> None:
    """The best of equally good defenses, or one that is clearly better; training luck shows in both sets of images."""
    rng, best, kept = np.random.default_rng(7), [], []
    truth = np.full(defenses, 0.5)
    truth[0] += gap
    for _ in range(800):
        clean, poisoned = (
            {str(i): Trials([*(row + rng.normal(0, 0.004, 3))], [*row]) for i, row in enumerate(luck)}
            for luck in (
                0.9 + 0.02 * rng.normal(size=(defenses, 3)),
                truth[:, None] + 0.02 * rng.normal(size=(defenses, 3)),
            )
        )
        found = worst_case(clean, poisoned, chance=0.1)
        own = float(truth[int(found.poisoned.defense)])
        best.append(holds(found.poisoned.quality.ends, own))
        kept.append(holds(found.kept.ends, (0.9 - own) / 0.8))
    assert LEAST <= np.mean(best) <= MOST
    assert np.mean(kept) >= LEAST, "more than 97 % where luck with clean and with protected images cancel out"
    if gap or defenses == 1:
        assert np.mean(kept) <= MOST


@pytest.mark.parametrize("things", [8, 10, 20, 33])
@pytest.mark.parametrize("truth", [0.0, 0.5, 0.8, 0.9])
def test_rank_correlation(things: int, truth: float) -> None:
    rng, found = np.random.default_rng(8), []
    spearman = 6 / np.pi * np.arcsin(truth / 2)  # of a bivariate normal population
    for _ in range(1500):
        x = rng.normal(size=things)
        y = truth * x + np.sqrt(1 - truth**2) * rng.normal(size=things)
        one = rank_correlation(x[:, None].tolist(), y[:, None].tolist())
        found.append(holds((one.rank.low, one.rank.high), spearman))
    assert LEAST <= np.mean(found) <= MOST


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_mean_of_rank_correlations(seeds: int, noise: float) -> None:
    """Layers stay, seeds come anew; the mean is that of Fisher's z."""
    rng, layers, many = np.random.default_rng(9), 10, 1500
    base = np.linspace(0, 1, layers)
    order = (base + noise * rng.normal(size=(many, seeds, layers))).argsort(-1).argsort(-1)
    values = 1 - 6 * ((order - np.arange(layers)) ** 2).sum(-1) / (layers * (layers**2 - 1))
    truth = mean_correlation(values.ravel().tolist(), layers).value
    found = [holds(mean_correlation(row.tolist(), layers).ends, truth) for row in values]
    assert LEAST <= np.mean(found) <= MOST


@pytest.mark.parametrize("read", [lambda found: found.drop, lambda found: found.ud])
def test_dose_response(read: Callable[..., tuple[Estimate, ...]]) -> None:
    rng, levels, found = np.random.default_rng(10), (0.2, 0.4, 0.6, 0.8), []
    for _ in range(600):
        amounts = {level: (level + 0.05 * rng.normal(size=3)).tolist() for level in levels}
        response = read(dose_response(amounts, amounts))
        assert response[0].value == response[0].low == response[0].high
        found += [holds(one.ends, level) for level, one in zip(levels, response[1:], strict=True)]
    assert LEAST <= np.mean(found) <= MOST
