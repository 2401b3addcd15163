"""Provably unlearnable examples."""

import copy
import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import share
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, add_noise, labels_of
from howfar.protectors.surrogate import load, new_surrogate, shuffled
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import pgd

VERSION = 1
SWITCH = 0.5  # accuracy of the surrogate above which its weights are perturbed


@dataclass(frozen=True)
class ProvablyUnlearnable(Protector):
    """Provably unlearnable examples, PUE (Wang et al., NDSS 2025, arXiv:2405.03316).

    Class-wise error-minimizing noise (see ``em``) against a surrogate with randomly perturbed weights: every noise step
    descends the loss averaged over several levels of Gaussian weight noise (relative to the norm of each weight) and
    several draws. The noise is then effective for all learners near the surrogate, which the certificate requires.

    Differs from the released code: gradients do not accumulate across noise levels; the number of rounds is limited.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        noise_levels: number of levels of weight noise, evenly spaced from 0 to ``weight_noise`` (published: 6).
        weight_noise: the largest level (published: 0.25).
        draws: of weights at each level (published: 100).
        train_steps: surrogate batches per round (published: 20).
        step_size: of a signed step; 0 takes eps/10.
        stop_error: error of the surrogate on x + δ at which to stop (published: 0.1).
        rounds: maximum number of rounds.
        batch_size: images per step.
        lr: learning rate of the surrogate.
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("pue[eps=4/255]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "rounds × levels × draws passes with gradients over the set"
    published: ClassVar[Settings] = {"draws": 100, "surrogate": "resnet18"}

    eps: Eps = 8 / 255
    noise_levels: Annotated[int, Field(ge=1)] = 6
    weight_noise: Annotated[Number, Field(ge=0)] = 0.25
    draws: Annotated[int, Field(ge=1)] = 1
    train_steps: Annotated[int, Field(ge=1)] = 20
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    stop_error: Annotated[float, Field(ge=0, le=1)] = 0.1
    rounds: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Every round passes over the set once for every level and draw."""
        return self.rounds * self.noise_levels * self.draws

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between surrogate and noise until the surrogate's error is low."""
        labels = labels_of(data, task)
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        noise = torch.zeros(int(labels.max()) + 1, *data.shape)
        yield from self._rounds(data, task, model, noise, labels, generator, device, draft)
        return (yield from add_noise(data, lambda part: noise[labels[part]], eps=self.eps))

    def _rounds(
        self, data: Data, task: Task, model: nn.Module, noise: Tensor, labels: Tensor, generator: torch.Generator,
        device: torch.device, draft: Draft,
    ) -> Generator[Progress, None, None]:  # fmt: skip
        batches = shuffled(len(data), self.batch_size, generator)
        optimizer = torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4)
        error = torch.ones(())
        done = draft.enter("rounds", model=model, optimizer=optimizer, noise=noise, generator=generator, error=error)
        for number in range(done + 1, self.rounds + 1):
            if float(error) <= self.stop_error:
                break
            model.train()
            first = (number - 1) * self.train_steps % len(batches)
            for batch in itertools.islice(itertools.cycle(batches), first, first + self.train_steps):
                images, target = load(data, task, batch, device)
                optimizer.zero_grad(set_to_none=True)
                task.loss(model((images + noise[labels[batch]].to(device)).clamp(0, 1)), target).mean().backward()
                optimizer.step()
            model.eval()
            smooth = float(error) < 1 - SWITCH
            wrong = 0.0
            for batch in batches:
                images, target = load(data, task, batch, device)
                start = noise[labels[batch]].to(device)
                gradient = self._gradient(model, task, images, start, target, generator, smooth=smooth)
                step = pgd.signed_step(start, gradient, step_size=self.step_size or self.eps / 10)
                share(noise, labels[batch], pgd.project(step, images, eps=self.eps).cpu(), self.eps)
                with torch.no_grad():
                    output = model((images + noise[labels[batch]].to(device)).clamp(0, 1))
                    wrong += len(batch) - float(task.quality(output, target).sum())
            error.fill_(wrong / len(data))
            draft.keep(number, float(error))
            yield Progress(number, self.rounds, f"error {float(error):.3f}")

    def _gradient(
        self, model: nn.Module, task: Task, images: Tensor, start: Tensor, target: Tensor,
        generator: torch.Generator, *, smooth: bool,
    ) -> Tensor:  # fmt: skip
        """Return the gradient of the loss with respect to the noise, averaged over perturbed surrogates."""
        noise = start.detach().requires_grad_()
        total = torch.zeros_like(start)
        levels = torch.linspace(0, self.weight_noise, self.noise_levels).tolist() if smooth else [0.0]
        for level, _ in itertools.product(levels, range(self.draws if smooth else 1)):
            near = _perturbed(model, level, generator) if level else model
            (gradient,) = torch.autograd.grad(task.loss(near(images + noise), target).sum(), noise)
            total += gradient
        return total


@torch.no_grad()
def _perturbed(model: nn.Module, level: float, generator: torch.Generator) -> nn.Module:
    """Return a copy with Gaussian weight noise, ``level`` relative to the norm of each weight."""
    near = copy.deepcopy(model)
    for weight in near.parameters():
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        weight.add_(drawn * (level * weight.norm() / max(float(drawn.norm()), 1e-12)))
    return near
