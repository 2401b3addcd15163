"""The images and targets that enter a learner's loss under a defense."""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.defend.defense import Defense
from howfar.models import in_eval_mode
from howfar.tasks import Task
from howfar.training import unchanged

BATCH = 128


def loss_inputs(
    defense: Defense, model: nn.Module, task: Task, data: Data, *, done: float, generator: Generator
) -> Data:
    """Return the images and targets on which the training loss is computed, drawn once for the current network.

    These are cut, mixed, augmented or adversarial images; with several views, the one that determines the loss; with
    two mixed targets, one of them, with its weight as probability. So SAL is measured on the images that the learner
    trains on, and with the same loss for clean and poisoned models.

    Args:
        defense: transforms batches.
        model: in any mode; the modes of all modules are restored.
        task: defines the loss.
        data: the probe set, already purified.
        done: finished share of training.
        generator: of all draws.
    """
    if defense.around is unchanged:
        return data
    device = next(model.parameters()).device
    pixels = arrays.empty_pixels(data.pixels.shape)
    targets: list[Any] = []
    with in_eval_mode(model):
        for part in arrays.chunks(len(data), BATCH):
            images = arrays.to_images(data.pixels[part], device)
            target = arrays.at(data.targets_of(task.target), part, device)
            inputs, labels = _drawn(defense, model, task, images, target, done, generator)
            pixels[part] = (inputs.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            targets.append(pytree.tree_map(lambda values: values.cpu(), labels))
    gathered = pytree.tree_map(lambda *parts: torch.cat(parts), *targets)
    named = gathered if isinstance(gathered, dict) else {task.target: gathered}
    return Data(pixels, {**data.targets, **named}, data.ids)


def _drawn(
    defense: Defense, model: nn.Module, task: Task, images: Images, target: Targets, done: float, generator: Generator
) -> tuple[Images, Targets]:
    """Return one input of the loss per image, drawn with its weight in the loss as probability."""
    calls: list[tuple[Images, Targets, Tensor]] = []

    def inner(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        losses = task.loss(model(images), targets)
        part = torch.zeros_like(losses, requires_grad=True)  # its gradient is the weight of this call in the total loss
        calls.append((images.detach(), targets, part))
        return losses + part

    total = defense.around(inner, done)(task, model, images, target, generator)
    found = torch.autograd.grad(total.sum(), [part for *_, part in calls], allow_unused=True)
    rows = torch.arange(len(images), device=images.device)
    views = [  # a call may contain several views of every image
        (inputs[start + rows], pytree.tree_map(lambda values, at=start + rows: values[at], labels), part[start + rows])
        for (inputs, labels, _), part in zip(calls, found, strict=True)
        if part is not None
        for start in range(0, len(inputs), len(images))
    ]
    weights = torch.stack([part for *_, part in views], 1).clamp_min(0).cpu()
    chosen = torch.multinomial(weights, 1, generator=generator).flatten().to(images.device)
    return (
        torch.stack([inputs for inputs, *_ in views])[chosen, rows],
        pytree.tree_map(lambda *each: torch.stack(each)[chosen, rows], *[labels for _, labels, _ in views]),
    )
