"""Adversarial training."""

from typing import Literal

import torch
from torch import Generator
from torch.nn import Module

from howfar.arrays import Images, PerExample, Targets
from howfar.models import in_eval_mode
from howfar.tasks import Task
from howfar.training import pgd
from howfar.training.loss import Loss, plain


def adversarial(
    task: Task, model: Module, images: Images, targets: Targets, generator: Generator, *, eps: float, steps: int = 10,
    norm: Literal["linf", "l2"] = "linf", start: Literal["ball", "normal"] = "ball", inner: Loss = plain,
) -> PerExample:  # fmt: skip
    """Return the loss on adversarial images found by PGD (Madry et al., ICLR 2018, arXiv:1706.06083).

    The step size is 2.5·eps/steps, images in [0, 1]: per pixel in L∞, as the norm of the step in L2. The total length
    of all steps is 2.5 times the radius, so PGD can cross the ball from any start. At the defaults of ``at`` (eps =
    8/255, 10 steps) the step size is 2/255.

    Args:
        task: defines the loss.
        model: in training mode; PGD uses eval mode, so that images do not influence each other.
        images: of the batch, in [0, 1].
        targets: of the images.
        generator: of the random starts.
        eps: radius, images in [0, 1].
        steps: of PGD.
        norm: of the ball.
        start: ``ball`` is uniform in the L∞ ball or on the L2 sphere; ``normal`` is Gaussian noise of the size of one
            step (its standard deviation in L∞, its norm in L2).
        inner: the loss that is maximized, then returned.
    """
    size = 2.5 * eps / steps
    descend = pgd.descend if norm == "linf" else pgd.descend_l2
    noise = _start(images, generator, norm=norm, start=start, eps=eps, size=size)

    def gain(x: Images) -> PerExample:
        return -inner(task, model, x, targets, generator)

    with in_eval_mode(model), torch.enable_grad():
        noise = descend(images, noise, gain, eps=eps, step_size=size, steps=steps)
    return inner(task, model, (images + noise).detach(), targets, generator)


def _start(images: Images, generator: Generator, *, norm: str, start: str, eps: float, size: float) -> Images:
    """Return the initial noise of PGD."""
    if norm == "linf" and start == "ball":
        return torch.empty(images.shape).uniform_(-eps, eps, generator=generator).to(images)
    drawn = torch.randn(images.shape, generator=generator).to(images)
    if norm == "linf":
        return size * drawn
    return pgd.project_l2((eps if start == "ball" else size) * pgd.unit_l2(drawn), images, eps=eps)
