"""Kornia's augmentations with seeded randomness and transformed dense targets."""

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
    """Return augmented images in [0, 1] and their targets; dense targets are transformed with the images.

    Pixels that move in have no target; see ``arrays.missing_value``. Directions are transformed with the image.
    Gradients flow to images that require them, as in adversarial training.

    Args:
        steps: modules of ``kornia.augmentation``, which draw from torch's global generator.
        task: transforms the values of its targets.
        images: in [0, 1].
        targets: any; dense ones as (n, height, width) or (n, channels, height, width).
        generator: of all draws; the state of the global one is restored.
    """
    gray = images.shape[1] == 1
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.set_grad_enabled(images.requires_grad):
        torch.manual_seed(arrays.draw_seed(generator))
        changed, moved = images.expand(-1, 3, -1, -1) if gray else images, targets
        if is_dense(targets):
            changed, moved, linear = _moved(steps, changed, targets)
            moved = task.transformed(moved, linear)
        else:
            for step in steps:
                changed = step(changed)
    changed = _checked(changed.mean(1, keepdim=True) if gray else changed, images)
    # Straight-through gradients for operations without a gradient, such as posterization.
    through = images.requires_grad and not changed.requires_grad
    return (images + (changed - images).detach() if through else changed), moved


def _moved(steps: Sequence[Any], images: Images, targets: Tensor) -> tuple[Images, Tensor, Tensor]:
    """Return images and maps after the same steps, and the linear map of every image plane, (n, 2, 2).

    An additional channel of ones marks pixels that the map still covers.
    """
    from kornia.augmentation import AugmentationSequential

    masks = targets.float() if targets.ndim == 4 else targets.float()[:, None]
    masks = torch.cat([masks, torch.ones_like(masks[:, :1])], 1)
    changed, masks = AugmentationSequential(*steps, data_keys=["input", "mask"])(images, masks)
    moved = masks[:, :-1].where(masks[:, -1:] > 0.5, arrays.missing_value(targets))
    linear = torch.eye(2, device=images.device).expand(len(images), 2, 2)
    for step in steps:
        linear = step.transform_matrix[:, :2, :2].to(linear) @ linear  # kornia's matrices act on (right, down)
    return changed, (moved if targets.ndim == 4 else moved[:, 0]).to(targets.dtype), linear


def _checked(changed: Images, images: Images) -> Images:
    """Return kornia's result after checking its shape, without NaN and in [0, 1]."""
    if changed.shape != images.shape:
        raise HowfarError(
            f"kornia turned images of {tuple(images.shape)} into {tuple(changed.shape)}. Try another version."
        )
    return changed.nan_to_num(0.0).clamp(0, 1).contiguous(memory_format=torch.channels_last)
