"""Kornia's augmentations, with our randomness and the target moved along."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from howfar import arrays
from howfar.arrays import Images, Targets
from howfar.defend.defense import is_dense
from howfar.errors import HowfarError
from howfar.tasks import Task


def augmented(
    steps: Sequence[Any], task: Task, images: Images, targets: Targets, generator: Generator
) -> tuple[Images, Targets]:
    """Return augmented images in [0, 1], and their targets, moved by what moves the image where they are dense.

    Places that move in have no answer; see ``arrays.unanswered``. Directions are transformed with the image. Gradients
    reach images that ask for them, as those of adversarial training do.

    Args:
        steps: modules of ``kornia.augmentation``, which draw from torch's global generator.
        task: says what a transformation changes in the values of its targets.
        images: in [0, 1].
        targets: any; dense ones as (n, height, width) or (n, channels, height, width).
        generator: decides all draws; the global one is put back.
    """
    gray = images.shape[1] == 1
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.set_grad_enabled(images.requires_grad):
        torch.manual_seed(arrays.draw_seed(generator))
        seen, moved = images.expand(-1, 3, -1, -1) if gray else images, targets
        if is_dense(targets):
            seen, moved, linear = _moved(steps, seen, targets)
            moved = task.transformed(moved, linear)
        else:
            for step in steps:
                seen = step(seen)
    seen = _checked(seen.mean(1, keepdim=True) if gray else seen, images)
    # Operations such as posterization have no gradient: it passes as if nothing had happened.
    through = images.requires_grad and not seen.requires_grad
    return (images + (seen - images).detach() if through else seen), moved


def _moved(steps: Sequence[Any], images: Images, targets: Tensor) -> tuple[Images, Tensor, Tensor]:
    """Return images and their maps after the same steps, and what these did to the plane of every image, (n, 2, 2).

    A channel of ones says where a map has moved out of sight.
    """
    from kornia.augmentation import AugmentationSequential

    masks = targets.float() if targets.ndim == 4 else targets.float()[:, None]
    masks = torch.cat([masks, torch.ones_like(masks[:, :1])], 1)
    seen, masks = AugmentationSequential(*steps, data_keys=["input", "mask"])(images, masks)
    moved = masks[:, :-1].where(masks[:, -1:] > 0.5, arrays.unanswered(targets))
    linear = torch.eye(2, device=images.device).expand(len(images), 2, 2)
    for step in steps:
        linear = step.transform_matrix[:, :2, :2].to(linear) @ linear  # those of kornia map places (right, down)
    return seen, (moved if targets.ndim == 4 else moved[:, 0]).to(targets.dtype), linear


def _checked(seen: Images, images: Images) -> Images:
    """Return what kornia made of the images, in the shape and range they had."""
    if seen.shape != images.shape:
        raise HowfarError(
            f"kornia turned images of {tuple(images.shape)} into {tuple(seen.shape)}. Try another version."
        )
    return seen.nan_to_num(0.0).clamp(0, 1).contiguous(memory_format=torch.channels_last)
