"""Curvature of victims as tables of text."""

import math
from collections.abc import Sequence

from howfar.report.numbers import ends, half, percent
from howfar.tables.curvatures import CurvatureSummary
from howfar.tables.trajectories import Mean

Texts = tuple[list[str], list[list[str]]]  # headings, lines
MEASURES = ("sal", "gradient", "eigenvalue", "trace")


def overview(found: Sequence[CurvatureSummary]) -> Texts:
    """Return headings and one line per protector."""
    head = ["victim", "protector", "SAL ÷ clean", "layers with lower SAL, %", "largest eigenvalue", "trace",
            "SAL ~ gradient", "SAL ~ eigenvalue", "SAL ~ both",
            "converged, %", "seeds"]  # fmt: skip
    return head, [
        [
            one.model, one.protector, _range(one.ratio), percent(one.lower),
            _shown(one.top), _shown(one.trace), *(_range(mean) for mean in (one.linear, one.quadratic, one.taylor)),
            f"{100 * one.converged:.0f}", str(one.seeds),
        ]
        for one in found
    ]  # fmt: skip


def layers(one: CurvatureSummary) -> Texts:
    """Return headings and one line per layer."""
    head = ["SAL, nats", "gradient norm", "largest eigenvalue", "trace"]
    lines = [[name, *(_shown(values[measure]) for measure in MEASURES)] for name, values in one.layers.items()]
    return [f"{one.protector} on {one.model}: layer", *head], lines


def _range(mean: Mean) -> str:
    """Return a mean with its interval; a dash where there is none, as of a single layer."""
    if math.isnan(mean.value):
        return "–"
    return f"{mean.value:.2f}{ends(mean.low, mean.high)}"


def _shown(mean: Mean) -> str:
    """Return a mean with half of its interval; a dash where there is none, as of a single layer."""
    if math.isnan(mean.value):
        return "–"
    return f"{mean.value:.3g}{half(mean.low, mean.high, '.2g')}"
