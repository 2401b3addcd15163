"""Min-min optimization: train a surrogate on the protected images for an epoch, then descend its loss in the noise."""

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Progress
from howfar.protectors.surrogate import clipped_step, load, shuffled
from howfar.tasks import Task
from howfar.training import pgd

Learn = Callable[[Images, Targets], PerExample]  # protected images, targets
Move = Callable[[Images, Targets, Images], PerExample]  # the same, and the clean images


def alternate(
    data: Data,
    task: Task,
    model: nn.Module,
    noise: Tensor,
    *,
    rows: Tensor,
    rounds: int,
    learn: Learn,
    move: Move,
    eps: float,
    steps: int,
    step_size: float | Sequence[float],
    batch_size: int,
    lr: float,
    weight_decay: float = 5e-4,
    clip: float = 5.0,
    generator: torch.Generator,
    device: torch.device,
    draft: Draft,
) -> Generator[Progress, None, None]:
    """Optimize ``noise`` and ``model`` in place; yields after every round.

    A round is an epoch of SGD (momentum 0.9, cosine schedule) on x + δ, then signed steps of δ down the loss ``move``
    of the eval-mode surrogate. Noise shared by several images is the mean of their individual updates.

    Args:
        data: clean images.
        task: provides the targets of the losses.
        model: the surrogate.
        noise: (rows, channels, height, width), for images in [0, 1].
        rows: index of the noise of each image, (n,).
        rounds: number of rounds.
        learn: loss of the surrogate.
        move: loss of the noise.
        eps: L∞ radius.
        steps: signed steps per round.
        step_size: of a step, or one per round.
        batch_size: maximum number of images per step.
        lr: initial learning rate.
        weight_decay: of the surrogate.
        clip: gradient clipping norm of the surrogate.
        generator: of the batches; the losses may draw from it, too.
        device: of the surrogate.
        draft: keeps the state of every round.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    done = draft.enter("rounds", noise=noise, model=model, optimizer=optimizer, generator=generator)
    for number in range(done + 1, rounds + 1):
        model.train()
        batches = shuffled(len(data), min(batch_size, len(data)), generator)
        total = 0.0
        for index, batch in enumerate(batches):
            part = (number - 1 + index / len(batches)) / rounds
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * part)) / 2
            images, target = load(data, task, batch, device)
            loss = learn((images + noise[rows[batch]].to(device)).clamp(0, 1), target).mean()
            clipped_step(model, optimizer, loss, norm=clip)
            total += float(loss.detach()) * len(batch)
        model.eval()
        size = step_size[number - 1] if isinstance(step_size, Sequence) else step_size
        for batch in batches:
            images, target = load(data, task, batch, device)
            moved = pgd.descend(
                images, noise[rows[batch]].to(device), partial(_moved, move, target, images), eps=eps,
                step_size=size, steps=steps,
            )  # fmt: skip
            share(noise, rows[batch], moved.cpu(), eps)
        draft.keep(number, total / len(data))
        yield Progress(number, rounds, f"loss {total / len(data):.3f}")


def _moved(move: Move, target: Targets, clean: Images, protected: Images) -> PerExample:
    return move(protected, target, clean)


def share(noise: Tensor, rows: Tensor, moved: Tensor, eps: float) -> None:
    """Set every row's noise to the mean of its images' updates, in place."""
    if len(rows.unique()) == len(rows):
        noise[rows] = moved
        return
    for row in rows.unique():
        noise[row] = moved[rows == row].mean(0).clamp(-eps, eps)
