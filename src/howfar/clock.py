"""Where and with what a step was done, and what it cost: the part of a record that must not change its result."""

import platform
import sys
import time
from typing import Any

import torch


def circumstances() -> dict[str, Any]:
    """Return where and with what this process works."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
    }


class Clock:
    """Wall and CPU seconds and peak memory of a step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Return circumstances and cost since the clock was made."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        gpu = self.device.type == "cuda"
        return {
            **circumstances(),
            "device": torch.cuda.get_device_name(self.device) if gpu else "cpu",
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "peak_bytes": torch.cuda.max_memory_allocated(self.device) if gpu else _peak_bytes(),
        }


def _peak_bytes() -> int | None:
    """Return the largest resident size this process ever had; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
