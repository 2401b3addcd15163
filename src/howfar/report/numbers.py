"""Numbers as a person reads them."""

import math

from howfar.score.metrics import RANGES, SHARES
from howfar.tables.trajectories import Mean

ONE_SEED = " (1 seed)"  # behind a value, in place of its interval


def unit(metric: str) -> str:
    """Return what to say behind the name of a metric."""
    return " in %" if metric in SHARES else {"PSNR": " in dB", "mean angle": " in degrees"}.get(metric, "")


def scale(metric: str) -> float:
    """Return what to multiply by before a number is shown."""
    return 100.0 if metric in SHARES else 1.0


def shown(metric: str, value: float) -> str:
    """Return a quality or a difference of two: one decimal in percent, else three significant digits; – for NaN."""
    if math.isnan(value):
        return "–"
    if metric in SHARES:
        return f"{100 * value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def counted(count: int, name: str) -> str:
    """Return a number of things: ``1 seed``, ``2 seeds``."""
    return f"{count} {name}{'s' * (count != 1)}"


def quality(metric: str, value: float, low: float | None, high: float | None) -> str:
    """Return a quality with its interval, cut at the range of the metric."""
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    if low is None or high is None:
        return f"{shown(metric, value)}{ONE_SEED}"
    low, high = max(low, least), min(high, most)
    return f"{shown(metric, value)} ({shown(metric, low)}{_dash(low)}{shown(metric, high)})"


def change(metric: str, value: float, low: float | None, high: float | None) -> str:
    """Return the difference of two qualities ± half of its interval, or its ends where they leave the range."""
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    if low is None or high is None:
        return f"{shown(metric, value)}{ONE_SEED}"
    width = most - least
    if low < -width or high > width:
        return f"{shown(metric, value)} ({shown(metric, max(low, -width))} to {shown(metric, min(high, width))})"
    return f"{shown(metric, value)} ± {shown(metric, (high - low) / 2)}"


def ends(
    low: float | None, high: float | None, form: str = ".2f", *, least: float = -math.inf, most: float = math.inf
) -> str:
    """Return an interval in brackets, to stand behind its value, cut at the least and the largest possible value."""
    if low is None or high is None:
        return ONE_SEED
    low, high = max(low, least), min(high, most)
    return f" ({low:{form}}{_dash(low)}{high:{form}})"


def half(low: float | None, high: float | None, form: str, factor: int | float = 1) -> str:
    """Return half of a symmetric interval, to stand behind its value."""
    return ONE_SEED if low is None or high is None else f" ± {factor * (high - low) / 2:{form}}"


def percent(mean: Mean) -> str:
    """Return a mean in percent, with half of its interval."""
    return f"{100 * mean.value:.0f}{half(mean.low, mean.high, '.0f', 100)}"


def _dash(low: float) -> str:
    return " to " if low < 0 else "–"
