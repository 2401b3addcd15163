"""UD by the way it is measured, as a table of text."""

from collections.abc import Sequence

from howfar.report.numbers import ranged
from howfar.tables.ablation import Variant


def ablation_table(lines: Sequence[Variant]) -> tuple[list[str], list[list[str]]]:
    """Return how UD of every protector depends on the way it is measured, as a person reads it."""
    names = list(lines[0].ud)
    columns = [
        "way to measure",
        *(f"UD {name}" for name in names),
        "rank correlation with drop",
        "same to 0.03",
        "moved at most",
    ]
    rows = []
    for line in lines:
        way = line.probe if line.rule == "per-epoch" else line.rule
        rows.append(
            [
                way,
                *(f"{ranged(line.ud[name])}{_starts(line, name)}" for name in names),
                _ranks(line),
                f"{line.close} of {line.pairs}",
                f"{line.moved:.3f}",
            ]
        )
    return columns, rows


def _ranks(line: Variant) -> str:
    if line.correlation is None:
        return "–"
    rank = line.correlation.rank
    return f"{rank.value:.2f}" + (f" ({rank.ends[0]:.2f} to {rank.ends[1]:.2f})" if rank.ends else "")


def _starts(line: Variant, name: str) -> str:
    return f", starts {line.starts[name][0]:.2f}–{line.starts[name][1]:.2f}" if name in line.starts else ""
