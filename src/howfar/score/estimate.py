"""A number with its interval, from the scores to JSON."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

DECIMALS = 6  # of published numbers, which is more than they mean
Kind = Literal["t", "log t", "delta", "fisher", "bonett-wright", "selection", "bootstrap"]
Names = tuple[str, str, str]  # of value, lower and upper end, as a file holds them
PLAIN: Names = ("value", "low", "high")


@dataclass(frozen=True, repr=False)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate.
        low: lower end of its interval; None where there is none, as with a single seed.
        high: upper end.
        n: how many seeds (or, of a rank correlation, things) it comes from.
        kind: of the interval: Student's ``t``; ``log t``, taken of the logarithm; ``delta``, of a ratio (the delta
            method, where Fieller's interval has ends); ``fisher``, t of Fisher's z; ``bonett-wright``, of a rank
            correlation; ``selection``, t that allows for the best of several having been taken; ``bootstrap``.

    Example:
        >>> Estimate(0.31, 0.2, 0.42, 3, "t")
        Estimate(0.310, interval 0.200 to 0.420, n = 3)
    """

    value: float
    low: float | None
    high: float | None
    n: int
    kind: Kind

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def text(self) -> str:
        """The value with its interval and n, as in ``0.310, interval 0.200 to 0.420, n = 3``."""
        n = f", n = {self.n}" if self.n > 1 else ""
        if self.ends is None:
            return f"{self.value:.3f}, {'1 seed' if self.n == 1 else 'no interval'}{n}"
        low, high = self.ends
        return f"{self.value:.3f}, interval {low:.3f} to {high:.3f}{n}"

    def __repr__(self) -> str:
        """Return value, interval and n."""
        return f"Estimate({self.text})"

    def mapped(self, function: Callable[[float], float], kind: Kind | None = None) -> "Estimate":
        """Return the estimate of a monotone function of the value; a falling one swaps the ends.

        Args:
            function: such as ``math.exp``.
            kind: of the new interval; None keeps it.
        """
        ends = None if self.ends is None else sorted(map(function, self.ends))
        low, high = ends or (None, None)
        return replace(self, value=function(self.value), low=low, high=high, kind=kind or self.kind)

    def within(self, least: float, most: float) -> "Estimate":
        """Return the estimate with its interval cut at the range of its quantity.

        Example:
            >>> Estimate(0.02, -0.11, 0.15, 2, "t").within(0, float("inf"))
            Estimate(0.020, interval 0.000 to 0.150, n = 2)
        """
        if self.ends is None:
            return self
        low, high = (min(max(end, least), most) for end in self.ends)
        return replace(self, low=low, high=high)


def under(name: str) -> Names:
    """Return the names of an estimate among other numbers of a file: ``drop``, ``drop_low``, ``drop_high``."""
    return name, f"{name}_low", f"{name}_high"


def to_json(value: Any, digits: int | None = None, names: Names = PLAIN) -> Any:
    """Return a value for JSON, which knows no infinity: infinite numbers and NaN become None.

    Args:
        value: an estimate; or numbers, texts, None, and mappings, sequences and dataclasses of all these.
        digits: decimals to keep; None keeps all.
        names: of value and ends, where ``value`` is an estimate.

    Example:
        >>> to_json({"drop": Estimate(1 / 3, 0.25, float("inf"), 2, "t")}, 3)
        {'drop': {'value': 0.333, 'low': 0.25, 'high': None}}
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    if isinstance(value, Estimate):
        numbers = (value.value, value.low, value.high)
        return {name: to_json(number, digits) for name, number in zip(names, numbers, strict=True)}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name), digits) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(inner, digits) for key, inner in value.items()}
    return [to_json(inner, digits) for inner in value] if isinstance(value, list | tuple) else value


def from_json(found: Mapping[str, Any], n: int, kind: Kind, names: Names = PLAIN) -> Estimate:
    """Return the estimate that ``to_json`` wrote; a value of null is NaN.

    Args:
        found: what the file holds, other numbers among it.
        n: of the estimate: files hold it once for all their numbers.
        kind: likewise.
        names: of value and ends in the file.
    """
    value, low, high = (found[name] for name in names)
    return Estimate(math.nan if value is None else value, low, high, n, kind)
