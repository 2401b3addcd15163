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
