"""Numerical precision of training."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16"}  # PyTorch's names -> common names


def chosen(wanted: Literal["auto", "float32", "bf16"], device: torch.device) -> Precision:
    """Return the precision on this device: ``auto`` is bf16 if the hardware supports it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" or (device.type == "cpu" and instructions()) else "float32"


def autocast(wanted: Literal["auto", "float32", "bf16"], device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which forward passes use that precision."""
    if chosen(wanted, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@cache
def instructions() -> str:
    """Return the name of this processor's best bf16 instructions; empty if there are none."""
    # Other processors emulate bf16, which is slower than float32.
    found = torch.cpu.get_capabilities()
    return next((name for flag, name in INSTRUCTIONS.items() if found.get(flag)), "")
