"""The page of ``howfar verify``: the verdict for people with photographs, in everyday words."""

from collections.abc import Sequence
from dataclasses import dataclass

from howfar.report.html import rendered


@dataclass(frozen=True)
class LossRow:
    """What a network gets right; shares from 0 to 1.

    Attributes:
        name: what happens to the photographs.
        clean: trained on the originals.
        protected: trained on the protected copies.
        lost: difference of both.
        ends: of its 95 % interval; None with one seed.
        outcome: whether the protection holds.
    """

    name: str
    clean: float
    protected: float
    lost: float
    ends: tuple[float, float] | None
    outcome: str

    @property
    def spread(self) -> str:
        """The interval of the loss in points; empty if there is none."""
        if self.ends is None:
            return ""
        low, high = (100 * min(max(end, -1.0), 1.0) for end in self.ends)
        return f" ({low:.0f} to {high:.0f})"


def render(verdict: Sequence[str], rows: Sequence[LossRow], chance: float | None) -> str:
    """Return the page as HTML; every name is escaped.

    Args:
        verdict: its sentences, the most important first.
        rows: the photographs as they are first.
        chance: share that guessing gets right; None without rows.
    """
    return rendered("photographs.html", (), verdict=verdict, rows=rows, chance=chance)
