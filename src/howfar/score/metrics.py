"""Metrics by name: which are shares, and their ranges."""

import math

SHARES = ("accuracy", "label accuracy", "mIoU", "mean gain", "retention")  # metrics that are shown in percent
RANGES = {
    "accuracy": (0.0, 1.0), "label accuracy": (0.0, 1.0), "mIoU": (0.0, 1.0), "mean gain": (-math.inf, 1.0),
    "mean angle": (0.0, 180.0), "log error": (0.0, math.inf), "mean error": (0.0, math.inf),
}  # fmt: skip
LEARNED = 0.1  # a clean model must be this far above chance before anything follows from it
