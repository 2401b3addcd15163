"""Diagnostics of this machine and its installation."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PROBE_SECONDS = 60


def examine() -> dict[str, str]:
    """Return descriptions of Python, torch, device, precision, cores, memory, disk and torchvision."""
    import torch

    from howfar import arrays
    from howfar.training.precision import instructions

    return {
        "howfar": _version(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "torch": torch.__version__,
        "device": _device(),
        "precision": _precision(instructions(), gpu=torch.cuda.is_available()),
        "cores": f"{arrays.cores()}, PyTorch uses {torch.get_num_threads()}",
        "memory": _memory(),
        "disk": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here",
        "torchvision": _torchvision(),
    }


def _device() -> str:
    """Return the device that ``--device auto`` selects, and other devices."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "cpu; an Apple GPU (MPS) is available: --device mps trains on it and measures SAL on the CPU"
    return "cpu (no GPU that PyTorch can use)"


def _version() -> str:
    try:
        return importlib.metadata.version("howfar")
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from its source"


def _precision(instructions: str, *, gpu: bool) -> str:
    """Return the default precision of training."""
    if gpu:
        return "bf16, on the GPU"
    if instructions:
        return f"bf16, by {instructions} (float32: --set train.precision=float32)"
    return "float32 (this processor has neither AMX nor AVX512_BF16)"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _torchvision() -> str:
    """Import torchvision in a subprocess: a broken build may crash the interpreter."""
    if importlib.util.find_spec("torchvision") is None:
        return "not installed, and not needed"
    command = [sys.executable, "-c", "import torchvision"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"installed, but importing it takes over {PROBE_SECONDS} s. Uninstall it: howfar does not need it"
    if done.returncode == 0:
        return "installed and intact; howfar does not need it"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return (
        f"installed but broken ({last}). It was built for another torch and breaks libraries that import it: "
        "uninstall it, or install the version that matches torch"
    )
