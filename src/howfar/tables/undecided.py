"""Which rows of a grid need more seeds."""

from collections.abc import Sequence

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.score import Estimate, retention
from howfar.score.metrics import SHARES
from howfar.store import Record
from howfar.tables.groups import Spreads, VictimGroup, drop_of, drops_of, grouped, seeds_of
from howfar.tables.names import CLEAN, Spec, protection, shared

Line = tuple[str, str]  # a row of a table: what the table shares, and the protection


def line_of(spec: Spec) -> Line:
    """Return the row that a victim belongs to."""
    return canonical(shared(spec)), protection(spec)


def undecided(victims: Sequence[Record], *, points: float, holds: float, analyses: int) -> set[Line]:
    """Return the rows that need more seeds.

    A row is decided once its drop or its retention is known to ± ``points``, or once the interval of its retention
    lies on one side of 1 − ``holds``. Each of several interim analyses takes 1 ÷ ``analyses`` of an error of
    5 % (Bonferroni), so that all of them together keep it. Rows that cannot be paired with clean runs are decided: more
    seeds do not help them.

    Args:
        victims: finished ones, with the seeds run so far.
        points: half-width asked for, in percentage points; it applies to the drop where the metric is a share.
        holds: share of (clean − chance) from which on a protection holds.
        analyses: how often the rows may be judged, this time included.
    """
    confidence = 1 - 0.05 / analyses
    found: set[Line] = set()
    for group in grouped(victims):
        rows = group.rows()
        scatter = Spreads((label, seeds_of(after), drops_of(before, after)) for label, (before, after) in rows.items())
        for label, (before, after) in rows.items():
            if label == CLEAN:
                continue
            lost = drop_of(before, after, scatter.of(label, seeds_of(after)), confidence=confidence)
            kept = _retention(group, label, confidence)
            if not (_narrow(lost, kept, after[0].result["metric"], points) or _sided(kept, holds)):
                found.add(line_of(after[0].spec))
    return found


def _narrow(lost: Estimate, kept: Estimate | None, metric: str, points: float) -> bool:
    """Return whether the drop or the retention is known well enough."""
    known = [one.ends for one in ((lost if metric in SHARES else None), kept) if one]
    return any(50 * (ends[1] - ends[0]) <= points for ends in known if ends)


def _sided(kept: Estimate | None, holds: float) -> bool:
    """Return whether the interval of the retention says that the protection holds, or that it does not."""
    if kept is None:
        return True  # the clean images were not learned: no number of seeds tells what is retained
    return kept.ends is not None and (kept.ends[1] < 1 - holds or kept.ends[0] > 1 - holds)


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
