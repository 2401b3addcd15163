"""Kornia's augmentations, with our randomness and the target moved along."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator

from howfar import arrays
from howfar.arrays import Images, Targets
from howfar.defend.defense import is_dense
from howfar.errors import HowfarError


def augmented(steps: Sequence[Any], images: Images, targets: Targets, generator: Generator) -> tuple[Images, Targets]:
    """Return augmented images in [0, 1], and their targets, moved by what moves the image where they are dense.

    Args:
        steps: modules of ``kornia.augmentation``, which draw from torch's global generator.
        images: in [0, 1].
        targets: any; dense ones as (n, height, width) or (n, channels, height, width).
        generator: decides all draws; the global one is put back.
    """
    from kornia.augmentation import AugmentationSequential

    gray = images.shape[1] == 1
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(arrays.draw_seed(generator))
        seen, moved = images.expand(-1, 3, -1, -1) if gray else images, targets
        if is_dense(targets):
            masks = targets.float() if targets.ndim == 4 else targets.float()[:, None]
            seen, moved = AugmentationSequential(*steps, data_keys=["input", "mask"])(seen, masks)
            moved = (moved if targets.ndim == 4 else moved[:, 0]).to(targets.dtype)
        else:
            for step in steps:
                seen = step(seen)
    return _checked(seen.mean(1, keepdim=True) if gray else seen, images), moved


def _checked(seen: Images, images: Images) -> Images:
    """Return what kornia made of the images, in the shape and range they had."""
    if seen.shape != images.shape:
        raise HowfarError(
            f"kornia turned images of {tuple(images.shape)} into {tuple(seen.shape)}. Try another version."
        )
    return seen.nan_to_num(0.0).clamp(0, 1).contiguous(memory_format=torch.channels_last)
