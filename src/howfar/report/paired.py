"""The table of protectors that are compared on the same test images."""

from collections.abc import Sequence
from itertools import groupby

from howfar.report.numbers import ONE_SEED, shown
from howfar.report.text_tables import TextTable
from howfar.tables.paired import PairedRow

RATE = 0.05  # of false discoveries
NOTE = (
    "Differences in test accuracy, in points, with 95 % intervals over seeds and test images; with 1 seed, over test "
    f"images alone. Protectors differ at a false discovery rate of {RATE:.0%} over all rows of this comparison "
    "(Benjamini–Hochberg). Detectable: the true difference that is found with a probability of 80 %."
)
HEADER = ("protector", "difference (95 %)", "differs", "adjusted p", "detectable", "seeds", "images")
METRIC = "accuracy"


def tables(rows: Sequence[PairedRow], against: str) -> list[TextTable]:
    """Return one table per victim and defense; the note stands below the last one."""
    found = [
        TextTable(f"{title} · compared with {against}", HEADER, [_texts(row) for row in members])
        for title, members in groupby(rows, key=_title)
    ]
    last = found[-1]
    return [*found[:-1], TextTable(last.title, last.columns, last.rows, note=NOTE)]


def _title(row: PairedRow) -> str:
    names = row.labels
    return f"{names['dataset']} · {names['task']} · {names['model']} · defense {names['defense']}"


def _texts(row: PairedRow) -> tuple[str, ...]:
    found, (low, high) = row.found, row.found.difference.ends or (float("nan"), float("nan"))
    return (
        row.protector,
        f"{shown(METRIC, found.difference.value)} ({shown(METRIC, low)} to {shown(METRIC, high)})",
        ("yes" if row.adjusted <= RATE else "cannot tell") + (ONE_SEED if found.seeds == 1 else ""),
        f"{row.adjusted:.2g}" if row.adjusted >= 1e-4 else "< 0.0001",
        shown(METRIC, found.detectable()),
        f"{found.seeds}",
        f"{found.images}",
    )
