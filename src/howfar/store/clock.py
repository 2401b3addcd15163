"""Environment and cost of a step: the part of a record that does not affect its result."""

import ctypes
import functools
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from howfar import __version__

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def circumstances() -> dict[str, Any]:
    """Return software versions and hardware of this process."""
    return {
        "howfar": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
    }


@functools.cache
def warm_up(device: torch.device) -> None:
    """Take one tiny training step per process, so that PyTorch's imports and set-up are not attributed to any step.

    In PyTorch 2.13, the first optimizer of a process imports the compiler, which takes longer than many protectors.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # initial weights draw from the global generator
        network = torch.nn.Conv2d(1, 1, 3).to(device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network(torch.ones(1, 1, 4, 4, device=device)).sum().backward()
        optimizer.step()
    synchronized(device)


def synchronized(device: torch.device) -> float:
    """Return monotonic seconds after synchronizing with the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Clock:
    """Wall time, CPU time and peak memory of a step, independent of what this process did before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._memory = PeakMemory()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Return environment and cost since the clock was created.

        ``step_peak_bytes`` is the peak resident size of the process, including interpreter and libraries, or None if
        it cannot be separated from earlier steps; ``step_peak_gpu_bytes`` is the memory of tensors on an NVIDIA GPU.
        """
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        gpu = self.device.type == "cuda"
        return {
            **circumstances(),
            "device": torch.cuda.get_device_name(self.device) if gpu else self.device.type,
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "step_peak_bytes": self._memory.peak(),
            **({"step_peak_gpu_bytes": torch.cuda.max_memory_allocated(self.device)} if gpu else {}),
        }


class PeakMemory:
    """The peak resident size of this process since the object was created.

    On Linux, freed memory is returned to the system and the kernel's high-water mark is reset. Elsewhere the mark
    covers the lifetime of the process: unless this work raised it, the peak belongs to earlier work.
    """

    def __init__(self) -> None:
        _hand_back()
        self._is_reset = _reset_peak()
        self._before = None if self._is_reset else _lifetime_peak()

    def peak(self) -> int | None:
        """Return it in bytes; None if it cannot be separated from earlier work."""
        if self._is_reset:
            return _peak_since_reset()
        now = _lifetime_peak()
        return now if now is not None and self._before is not None and now > self._before else None


def _hand_back() -> None:
    """Return freed memory to the system; workers keep it while a step runs, see ``howfar.engine.memory``."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _reset_peak() -> bool:
    """Reset the kernel's high-water mark of this process; return whether that is possible."""
    try:
        CLEAR.write_text("5", encoding="ascii")  # see proc(5)
    except OSError:  # another system, or a container that forbids it
        return False
    return _peak_since_reset() is not None


def _peak_since_reset() -> int | None:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _lifetime_peak() -> int | None:
    """Return the peak resident size over the lifetime of the process; None if the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
