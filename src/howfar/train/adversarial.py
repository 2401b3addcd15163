"""The loss at the worst images nearby."""

from typing import Literal

import torch
from torch import Generator
from torch.nn import Module

from howfar import pgd
from howfar.arrays import Images, PerExample, Targets
from howfar.tasks import Task
from howfar.train.loss import Loss, plain


def adversarial(
    task: Task, model: Module, images: Images, targets: Targets, generator: Generator, *, eps: float, steps: int = 10,
    norm: Literal["linf", "l2"] = "linf", inner: Loss = plain,
) -> PerExample:  # fmt: skip
    """Return the loss at the worst images that PGD finds (Madry et al., ICLR 2018, arXiv:1706.06083).

    Args:
        task: gives the loss.
        model: in training mode; PGD sees it in eval mode, so that images do not influence each other.
        images: as the learner has them.
        targets: of the images.
        generator: of the random starts.
        eps: radius, images in [0, 1]; steps are of 2.5·eps/steps.
        steps: of PGD.
        norm: of the ball.
        inner: the loss that is raised.
    """
    was_training = model.training
    model.eval()
    size = 2.5 * eps / steps
    try:
        with torch.enable_grad():

            def loss(x: Images) -> PerExample:
                return inner(task, model, x, targets, generator)

            if norm == "linf":
                worst = pgd.attack(images, loss, eps=eps, step_size=size, steps=steps, generator=generator)
            else:
                start = eps * pgd.unit_l2(torch.randn(images.shape, generator=generator).to(images))
                start = pgd.project_l2(start, images, eps=eps)
                worst = images + pgd.descend_l2(
                    images, start, lambda x: -loss(x), eps=eps, step_size=size, steps=steps
                )  # fmt: skip
    finally:
        model.train(was_training)
    return inner(task, model, worst.detach(), targets, generator)
