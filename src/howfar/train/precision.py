"""Which numbers a network is trained in."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16"}  # as PyTorch calls them: as people do


def chosen(wanted: Literal["auto", "float32", "bf16"], device: torch.device) -> Precision:
    """Return what a recipe's precision means on this device: ``auto`` is bf16 where there are instructions for it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" or (device.type == "cpu" and instructions()) else "float32"


def autocast(wanted: Literal["auto", "float32", "bf16"], device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which forward passes take that precision."""
    if chosen(wanted, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@cache
def instructions() -> str:
    """Return the best instructions that this processor has for bf16, as people call them; empty without any."""
    # Other processors convert every number back and forth, which is slower than float32.
    found = torch.cpu.get_capabilities()
    return next((name for flag, name in INSTRUCTIONS.items() if found.get(flag)), "")
