"""Memory allocation in training processes."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3) in glibc
MOST = 2**31 - 1  # bytes


def keep_freed() -> bool:
    """Keep freed memory for later tensors instead of returning it to the system; returns whether the C library can.

    glibc maps new pages for every large tensor, whose first use takes a third of the training time at 224×224. The
    resident size stays at its peak.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(kind, MOST) for kind in (MMAP_THRESHOLD, TRIM_THRESHOLD))
