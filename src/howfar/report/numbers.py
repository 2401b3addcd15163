"""Qualities as a person reads them."""

SHARES = ("accuracy", "label accuracy", "mIoU", "mean gain", "retention")  # metrics that are shown in percent


def unit(metric: str) -> str:
    """Return what to say behind the name of a metric."""
    return " in %" if metric in SHARES else {"PSNR": " in dB", "mean angle": " in degrees"}.get(metric, "")


def scale(metric: str) -> float:
    """Return what to multiply by before a number is shown."""
    return 100.0 if metric in SHARES else 1.0


def shown(metric: str, value: float) -> str:
    """Return a quality or a difference of two with one decimal in percent, else with three significant digits."""
    if metric in SHARES:
        return f"{100 * value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
