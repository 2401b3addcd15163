"""Diverging weights as tables of text."""

from collections.abc import Sequence

from howfar.report.numbers import plus_minus
from howfar.score import Estimate
from howfar.tables.trajectories import Divergence

Texts = tuple[list[str], list[list[str]]]  # headings, lines


def overview(found: Sequence[Divergence]) -> Texts:
    """Return headings and one line per protector."""
    head = ["victim", "protector", "parameters that differ, %", "filters, %", "layers, %",
            "parameters that turn back, %", "the same of clean runs, %", "seeds × orders"]  # fmt: skip
    return head, [
        [
            one.model, one.protector,
            *(plus_minus(share, ".0f", 100) for share in shares(one)),
            f"{one.seeds} × {one.orders}",
        ]
        for one in sorted(found, key=lambda one: (one.model, -one.parameters.value))
    ]  # fmt: skip


def shares(one: Divergence) -> list[Estimate]:
    """Return the shares that differ or turn back, in the order of ``overview``."""
    return [one.parameters, one.filters, one.layers, one.turns_back, one.clean_turns_back]


def layers(one: Divergence) -> Texts:
    """Return headings and one line per layer."""
    lines = [
        [
            name, f"{100 * layer.differing:.0f}", f"{layer.further:.2f}", f"{layer.longer:.2f}",
            "never" if layer.leaves is None else f"{100 * layer.leaves:.0f} %", f"{100 * layer.turns_back:.0f}",
        ]
        for name, layer in one.by_layer.items()
    ]  # fmt: skip
    head = [
        "parameters that differ, %", "further than clean", "longer than clean", "leaves after",
        "turns back, % of runs",
    ]  # fmt: skip
    return [f"{one.protector} on {one.model}: layer", *head], lines
