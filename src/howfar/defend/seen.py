"""What a learner's loss is made of."""

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
from howfar.train import unchanged

BATCH = 128


def as_seen(defense: Defense, model: nn.Module, task: Task, data: Data, *, done: float, generator: Generator) -> Data:
    """Return the images and targets that a learner minimises its loss on, drawn once for the network as it stands.

    Cut, mixed, augmented or adversarial images take the place of the plain ones; of several views, the one that
    the loss is taken from; of two mixed targets, one with its weight as probability. So SAL is measured on the very
    images that are learned, and with the same loss for clean and poisoned models.

    Args:
        defense: what happens in batches.
        model: in whatever mode; every module gets its mode back.
        task: gives the loss.
        data: the probe set, purified already.
        done: share of the training that is done.
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
            target = arrays.at(data.answers(task.target), part, device)
            seen, meant = _drawn(defense, model, task, images, target, done, generator)
            pixels[part] = (seen.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            targets.append(pytree.tree_map(lambda values: values.cpu(), meant))
    whole = pytree.tree_map(lambda *parts: torch.cat(parts), *targets)
    named = whole if isinstance(whole, dict) else {task.target: whole}
    return Data(pixels, {**data.targets, **named}, data.ids)


def _drawn(
    defense: Defense, model: nn.Module, task: Task, images: Images, target: Targets, done: float, generator: Generator
) -> tuple[Images, Targets]:
    """Return one of the images that entered the loss, drawn by its part in it."""
    calls: list[tuple[Images, Targets, Tensor]] = []

    def inner(
        task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
    ) -> PerExample:  # fmt: skip
        losses = task.loss(model(images), targets)
        part = torch.zeros_like(losses, requires_grad=True)  # the gradient for it is this call's part in the whole
        calls.append((images.detach(), targets, part))
        return losses + part

    total = defense.around(inner, done)(task, model, images, target, generator)
    found = torch.autograd.grad(total.sum(), [part for *_, part in calls], allow_unused=True)
    rows = torch.arange(len(images), device=images.device)
    views = [  # a call may hold several views of every image, one after the other
        (seen[start + rows], pytree.tree_map(lambda values, at=start + rows: values[at], meant), part[start + rows])
        for (seen, meant, _), part in zip(calls, found, strict=True)
        if part is not None
        for start in range(0, len(seen), len(images))
    ]
    weights = torch.stack([part for *_, part in views], 1).clamp_min(0).cpu()
    chosen = torch.multinomial(weights, 1, generator=generator).flatten().to(images.device)
    return (
        torch.stack([seen for seen, *_ in views])[chosen, rows],
        pytree.tree_map(lambda *meant: torch.stack(meant)[chosen, rows], *[meant for _, meant, _ in views]),
    )
