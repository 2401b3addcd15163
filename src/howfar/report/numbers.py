"""Qualities as a person reads them, and numbers as files hold them."""

import math
from typing import Any

LEARNED = 0.1  # a clean model must be this far above chance before anything follows from it
SHARES = ("accuracy", "label accuracy", "mIoU", "mean gain", "retention")  # metrics that are shown in percent


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


def rounded(value: Any) -> Any:
    """Return JSON values with six decimals, which is more than the numbers mean; infinite ones become None."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def counted(count: int, name: str) -> str:
    """Return a number of things: ``1 seed``, ``2 seeds``."""
    return f"{count} {name}{'s' * (count != 1)}"


def ends(low: float | None, high: float | None, form: str = ".2f") -> str:
    """Return an interval in brackets, to stand behind its value; nothing where there is none."""
    return "" if low is None or high is None else f" ({low:{form}}–{high:{form}})"


def half(low: float | None, high: float | None, form: str, factor: int | float = 1) -> str:
    """Return half of a symmetric interval, to stand behind its value; nothing where there is none."""
    return "" if low is None or high is None else f" ± {factor * (high - low) / 2:{form}}"


def percent(low: float | None, high: float | None) -> str:
    """Return the interval of a share in percent, in brackets; nothing where there is none."""
    return "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
