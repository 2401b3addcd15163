"""Rows of a grid that need more seeds."""

from collections.abc import Sequence

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.score import Estimate, retention
from howfar.score.metrics import SHARES
from howfar.store import Record
from howfar.tables.decisions import CONFIDENCE
from howfar.tables.groups import Spreads, VictimGroup, drop_of, drops_of, grouped, mean_quality, seeds_of
from howfar.tables.names import CLEAN, Spec, protection, shared
from howfar.tables.verdicts import decided

Line = tuple[str, str]  # a row of a table: what the table shares, and the protection


def line_of(spec: Spec) -> Line:
    """Return the row that a victim belongs to."""
    return canonical(shared(spec)), protection(spec)


def undecided(victims: Sequence[Record], *, points: float, holds: float, analyses: int) -> set[Line]:
    """Return the rows that need more seeds.

    A row is decided once its drop or its retention is known to ± ``points``, or once it holds or does not hold by the
    rule of ``howfar.tables.decisions``. Each of several interim analyses takes 1 ÷ ``analyses`` of the error
    (Bonferroni), so that all of them together keep it. Rows that more seeds do not help are decided: those without
    clean runs, those whose clean images were not learned, and those that only more test images could decide.

    Args:
        victims: finished ones, with the seeds run so far.
        points: half-width asked for, in percentage points; it applies to the drop where the metric is a share.
        holds: share of (clean − chance) from which on a protection holds.
        analyses: how often the rows may be judged, this time included.
    """
    found: set[Line] = set()
    for group in grouped(victims):
        rows = group.rows()
        scatter = Spreads((label, seeds_of(after), drops_of(before, after)) for label, (before, after) in rows.items())
        for label, (before, after) in rows.items():
            if label == CLEAN:
                continue
            lost = drop_of(before, after, scatter.of(label, seeds_of(after)), confidence=1 - 0.05 / analyses)
            kept = _retention(group, label, 1 - 0.05 / analyses)
            strict = _retention(group, label, 1 - (1 - CONFIDENCE) / analyses)
            if not _narrow(lost, kept, after[0].result["metric"], points) and _open(before, after, strict, 1 - holds):
                found.add(line_of(after[0].spec))
    return found


def _narrow(lost: Estimate, kept: Estimate | None, metric: str, points: float) -> bool:
    """Return whether the drop or the retention is known well enough."""
    known = [one.ends for one in ((lost if metric in SHARES else None), kept) if one]
    return any(50 * (ends[1] - ends[0]) <= points for ends in known if ends)


def _open(before: Sequence[Record], after: Sequence[Record], kept: Estimate | None, threshold: float) -> bool:
    """Return whether more seeds may decide if the protection holds."""
    clean, protected = mean_quality(before), mean_quality(after)
    return decided(kept, after[0].result, clean, protected, threshold).lack == "seeds"


def _retention(group: VictimGroup, label: str, confidence: float) -> Estimate | None:
    """Return what a row retains; None where the clean images were not learned."""
    before, after = group.pairs(label)
    result = after[0].result
    clean = [record.result["quality"] for record in before]
    try:
        return retention(
            clean, [record.result["quality"] for record in after], chance=result["chance"], confidence=confidence,
            higher_is_better=result["higher_is_better"], others=group.others(label),
        )  # fmt: skip
    except UsageError:
        return None
