"""Curvature of victims as tables of text."""

from collections.abc import Sequence

from howfar.report.numbers import plus_minus, ranged
from howfar.score import Estimate
from howfar.tables.curvatures import CurvatureSummary

Texts = tuple[list[str], list[list[str]]]  # headings, lines
MEASURES = ("sal", "gradient", "eigenvalue", "trace")


def overview(found: Sequence[CurvatureSummary]) -> Texts:
    """Return headings and one line per protector."""
    head = ["victim", "protector", "SAL ÷ clean", "layers with lower SAL, %", "largest eigenvalue", "trace",
            "SAL ~ gradient", "SAL ~ eigenvalue", "SAL ~ both",
            "converged, %", "seeds"]  # fmt: skip
    return head, [
        [
            one.model, one.protector, ranged(one.ratio), plus_minus(one.lower, ".0f", 100),
            _shown(one.top), _shown(one.trace), *map(ranged, (one.linear, one.quadratic, one.taylor)),
            f"{100 * one.converged:.0f}", str(one.seeds),
        ]
        for one in found
    ]  # fmt: skip


def layers(one: CurvatureSummary) -> Texts:
    """Return headings and one line per layer."""
    head = ["SAL, nats", "gradient norm", "largest eigenvalue", "trace"]
    lines = [[name, *(_shown(values[measure]) for measure in MEASURES)] for name, values in one.layers.items()]
    return [f"{one.protector} on {one.model}: layer", *head], lines


def _shown(mean: Estimate) -> str:
    return plus_minus(mean, ".3g", width=".2g")
