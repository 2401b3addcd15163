"""Formatting of numbers."""

import math

from howfar.score import Estimate
from howfar.score.metrics import RANGES, SHARES

ONE_SEED = " (1 seed)"  # behind a value, in place of its interval
MISSING = "–"  # in place of a value
UNLEARNED = "–: the clean victim learned too little to compare with."  # note of a table


def unit(metric: str) -> str:
    """Return what to say behind the name of a metric."""
    return " in %" if metric in SHARES else {"PSNR": " in dB", "mean angle": " in degrees"}.get(metric, "")


def scale(metric: str) -> float:
    """Return what to multiply by before a number is shown."""
    return 100.0 if metric in SHARES else 1.0


def drop_name(metric: str) -> str:
    """Return the heading of a column of drops: shares fall by points of a percentage, errors rise in their own unit."""
    return f"drop{' in points' if metric in SHARES else unit(metric)} (95 %)"


def shown(metric: str, value: float) -> str:
    """Return a quality or a difference of two: one decimal in percent, else three significant digits; – for NaN."""
    if math.isnan(value):
        return "–"
    if metric in SHARES:
        return f"{100 * value:z.1f}"
    return f"{value:z.2f}" if abs(value) >= 1 else f"{value:z.3f}"


def percent(share: float) -> str:
    """Return a share in whole percent, without its sign: ``-7`` for -0.07, which means worse than chance."""
    return f"{100 * share:z.0f}"


def counted(count: int, name: str) -> str:
    """Return a number of things: ``1 seed``, ``2 seeds``."""
    plural = "es" if name.endswith("s") else "s"
    return f"{count:,} {name}{plural * (count != 1)}"


def span(numbers: set[int], name: str) -> str:
    """Return how many things there are in several cases: ``no defense``, ``2 seeds``, ``2 to 5 seeds``."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return f"{low:,} {name}{'s' * (low != 1)}" if low else f"no {name}"
    return f"{low:,} to {high:,} {name}s" if low else f"at most {high:,} {name}s"


def quality(metric: str, found: Estimate) -> str:
    """Return a quality with its interval, cut at the range of the metric."""
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    if found.ends is None:
        return f"{shown(metric, found.value)}{ONE_SEED}"
    low, high = max(found.ends[0], least), min(found.ends[1], most)
    return f"{shown(metric, found.value)} ({shown(metric, low)}{_dash(low)}{shown(metric, high)})"


def change(metric: str, found: Estimate) -> str:
    """Return the difference of two qualities ± half of its interval, or its ends where they leave the range.

    An interval of a share that is wider than 100 points is left out.
    """
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    if found.ends is None:
        return f"{shown(metric, found.value)}{ONE_SEED}"
    (low, high), width = found.ends, most - least
    if metric in SHARES and high - low > 1:
        return f"{shown(metric, found.value)} (cannot tell)"
    if low < -width or high > width:
        return f"{shown(metric, found.value)} ({shown(metric, max(low, -width))} to {shown(metric, min(high, width))})"
    return f"{shown(metric, found.value)} ± {shown(metric, (high - low) / 2)}"


def ranged(found: Estimate | None, form: str = ".2f") -> str:
    """Return a value with its interval in parentheses; – for None."""
    if found is None or math.isnan(found.value):
        return "–"
    if found.ends is None:
        return f"{found.value:{form}}{ONE_SEED}"
    low, high = found.ends
    return f"{found.value:{form}} ({low:{form}}{_dash(low)}{high:{form}})"


def plus_minus(found: Estimate, form: str, factor: int | float = 1, *, width: str = "") -> str:
    """Return a value ± half of its symmetric interval.

    Args:
        found: the value.
        form: of the value.
        factor: to multiply by, such as 100 for percent.
        width: form of the half interval; empty takes ``form``.
    """
    if math.isnan(found.value):
        return "–"
    text = f"{factor * found.value:{form}}"
    if found.ends is None:
        return f"{text}{ONE_SEED}"
    low, high = found.ends
    return f"{text} ± {factor * (high - low) / 2:{width or form}}"


def _dash(low: float) -> str:
    return " to " if low < 0 else "–"
