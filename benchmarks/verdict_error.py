"""How often the verdict is wrong: simulated tables of victims whose true retention is known.

The rows of a table share their clean victims and their test images. Three rows lie at the threshold, where "holds" and
"does not hold" are both wrong; the others lie away from it, and show how often the verdict is decided at all.

    python benchmarks/verdict_error.py                  # the table in docs/verdicts.md, about two minutes
    python benchmarks/verdict_error.py --tables 2000    # closer
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError
from howfar.score import Estimate, Trials, retention, worst_case
from howfar.tables.decisions import (
    BROKEN,
    CONFIDENCE,
    Decision,
    against_all,
    corrected,
    decide,
    has_learned,
    image_error,
)

CHANCE, CLEAN = 0.1, 0.6
LIKENESS = 0.7  # share of the variance between images that all networks have in common
AT, AWAY = (BROKEN,) * 3, (0.2, 0.8, 0.05, 0.95, 1.0)
SEEDS = (2, 3, 4, 5)
HELD = 1000  # validation images
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """One kind of table.

    Attributes:
        name: as it is printed.
        rows: protectors away from the threshold.
        scatter: standard deviation between seeds, as a share of correct predictions.
        loud: how many times as much the first row at the threshold scatters.
        images: test images.
        defenses: that every protector met; two of them are best alike.
        chosen: whether the defense is chosen on validation images.
    """

    name: str
    rows: int = 5
    scatter: float = 0.03
    loud: float = 1.0
    images: int = 2000
    defenses: int = 1
    chosen: bool = False


SCENES = (
    Scene("5 protectors", rows=2),
    Scene("8 protectors"),
    Scene("8, large scatter", scatter=0.08),
    Scene("8, one scatters 2 times as much", loud=2),
    Scene("8, one scatters 3 times as much", loud=3),
    Scene("5, one scatters 3 times as much", rows=2, loud=3),
    Scene("8, hardly any scatter", scatter=0.002),
    Scene("8, 100 test images", images=100),
    Scene("8, 16 test images", images=16),
    Scene("8, best of 6 defenses", defenses=6, chosen=True),
    Scene("8, 6 defenses, no validation images", defenses=6),
)


def correct(rng: np.random.Generator, qualities: Floats, images: int) -> Floats:
    """Return the measured accuracies of networks of these true accuracies, all on the same test images."""
    from scipy.special import ndtri

    luck = np.sqrt(LIKENESS) * rng.normal(size=images)
    own = np.sqrt(1 - LIKENESS) * rng.normal(size=(*qualities.shape, images))
    found: Floats = (luck + own < ndtri(np.clip(qualities, 1e-6, 1 - 1e-6))[..., None]).mean(-1)
    return found


def decisions(scene: Scene, seeds: int, count: int, rng: np.random.Generator) -> Iterator[tuple[float, int, Decision]]:
    """Yield the true retention, the place in its table and the decision of the rows at and next to the threshold."""
    truths = np.array([*AT, *AWAY[: scene.rows]])
    spread = np.full((len(truths), 1, 1), scene.scatter)
    spread[0] *= scene.loud
    means = CHANCE + truths * (CLEAN - CHANCE)
    worse = np.where(np.arange(scene.defenses) < 2, 0.0, 0.1)[:, None]
    for _ in range(count):
        drawn = means[:, None, None] - worse + spread * rng.normal(size=(len(means), scene.defenses, seeds))
        clean = CLEAN + scene.scatter * rng.normal(size=(1, scene.defenses, seeds))
        qualities = np.concatenate([clean, drawn])
        tested, held = correct(rng, qualities, scene.images), correct(rng, qualities, HELD if scene.chosen else 1)
        for place in range(len(AT) + 2):
            yield float(truths[place]), place, _decision(scene, tested, held, place + 1)


def _decision(scene: Scene, tested: Floats, held: Floats, row: int) -> Decision:
    if scene.chosen:
        clean, protected = (
            {str(d): Trials(held[k, d].tolist(), tested[k, d].tolist()) for d in range(scene.defenses)}
            for k in (0, row)
        )
        worst = worst_case(clean, protected, chance=CHANCE, confidence=CONFIDENCE)
        kept = worst.kept.mapped(lambda value: 1 - value)
        return _decided(scene, kept, worst.clean.quality.value, worst.poisoned.quality.value)
    each = [_of_defense(scene, tested, row, place, CONFIDENCE) for place in range(scene.defenses)]
    error = corrected(scene.defenses)
    strict = [_of_defense(scene, tested, row, place, error) for place in range(scene.defenses)]
    return against_all(each, strict)[1]


def _of_defense(scene: Scene, tested: Floats, row: int, defense: int, confidence: float) -> Decision:
    clean, protected = tested[0, 0].tolist(), tested[row, defense].tolist()
    others = [tested[other, defense].tolist() for other in range(1, len(tested)) if other != row]
    try:
        kept = retention(clean, protected, chance=CHANCE, others=others, confidence=confidence)
    except UsageError:
        kept = None
    return _decided(scene, kept, float(np.mean(clean)), float(np.mean(protected)))


def _decided(scene: Scene, kept: Estimate | None, clean: float, protected: float) -> Decision:
    value = kept.value if kept else 1.0
    error = image_error(
        "accuracy", value, clean=clean, protected=protected, chance=CHANCE, images=scene.images
    )  # fmt: skip
    return decide(kept, learned=has_learned("accuracy", clean, CHANCE), error=error)


@dataclass(frozen=True)
class Rates:
    """How often verdicts are wrong or right.

    Attributes:
        holds: wrong "holds", of the rows at the threshold.
        fails: wrong "does not hold", of the same rows.
        loudest: the larger of both, of the row that scatters most.
        decided: right verdicts, of the rows that retain 20 or 80 %.
    """

    holds: float
    fails: float
    loudest: float
    decided: float


def rates(scene: Scene, seeds: int, tables: int, seed: int = 0) -> Rates:
    """Return the rates of one kind of table."""
    found: Counter[tuple[int, str]] = Counter()
    right = 0
    for truth, place, one in decisions(scene, seeds, tables, np.random.default_rng(seed)):
        if truth == BROKEN:
            found[place, one.outcome] += 1
        else:
            right += one.outcome == ("holds" if truth < BROKEN else "does not hold")
    wrong = {
        outcome: [found[place, outcome] / tables for place in range(len(AT))] for outcome in ("holds", "does not hold")
    }
    holds, fails = (sum(shares) / len(AT) for shares in wrong.values())
    return Rates(holds, fails, max(shares[0] for shares in wrong.values()), right / (2 * tables))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=400, help="simulated tables of each kind")
    options = parser.parse_args()
    print("| table | seeds | wrong “holds” | wrong “does not hold” | row that scatters most | decided at 20 and 80 % |")
    print("| - | -: | -: | -: | -: | -: |")
    for scene in SCENES:
        found = [rates(scene, seeds, options.tables) for seeds in SEEDS]
        columns = [
            [getattr(one, name) for one in found] for name in ("holds", "fails", "loudest", "decided")
        ]  # fmt: skip
        cells = [f"{100 * max(column):.1f} %" for column in columns[:3]]
        power = f"{100 * columns[3][0]:.0f} to {100 * columns[3][-1]:.0f} %"
        print(f"| {scene.name} | {SEEDS[0]}–{SEEDS[-1]} | {' | '.join(cells)} | {power} |", flush=True)


if __name__ == "__main__":
    main()
