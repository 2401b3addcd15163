"""Error-minimizing noise."""

import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data, balanced
from howfar.protectors.draft import Draft
from howfar.protectors.minmin import share
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, add_noise, labels_of
from howfar.protectors.surrogate import clipped_step, load, new_surrogate, shuffled
from howfar.spec import Eps, Number
from howfar.tasks import Task, quality_gain
from howfar.training import pgd

VERSION = 2
USUAL_ROUNDS = 5  # measured on CIFAR-10, rooms and digits
SUBSET = 0.2  # share of the images, class-balanced, from which class-wise noise is crafted
PUBLISHED_STEPS = {"sample": 20, "class": 1}


@dataclass(frozen=True)
class ErrorMinimizing(Protector):
    """Error-minimizing noise, EM (Huang et al., ICLR 2021, arXiv:2101.04898).

    min over θ of the mean of min over ‖δ‖∞ ≤ eps of loss(f_θ(x + δ), y). In every round, the surrogate takes a few
    training steps on x + δ, then δ takes signed steps down the loss of the eval-mode surrogate, for the whole set.
    Stops when the surrogate's error on x + δ is at most ``stop_error``.

    With class-wise noise, the steps of an image start from its class's noise, which is then replaced by the mean over
    the class's images in the batch. The noise is crafted on a fifth of the images, and the surrogate is trained on all,
    as released.

    Differs from the released code: negative noise survives the export (it clamped the noise, not the image, to
    [0, 255]); rounds instead of truncating; one shuffled order of the batches for the whole run (released: the order of
    the files, which is bad in a folder sorted by class; class-wise a new order in every pass); a maximum number of
    rounds; ``stop_error`` 0.01 for class-wise noise, too (0.1 in its README).

    Attributes:
        granularity: ``sample`` for one noise per image, ``class`` for one per class.
        eps: L∞ radius, images in [0, 1].
        step_size: of a signed step; 0 takes eps/10 (published: 0.8/255 at 8/255, 1.6/255 at 16/255).
        steps: signed steps per round; 0 takes the published 20 (sample-wise) or 1 (class-wise).
        train_steps: surrogate batches per round (published: 10 for CIFAR-10, 20 for CIFAR-100).
        stop_error: error of the surrogate on x + δ at which to stop; for tasks other than classification, 1 − the
            normalized gain over chance.
        rounds: maximum number of rounds.
        surrogate: an entry of ``MODELS`` (published: resnet18).
        batch_size: images per surrogate step (published: 512).
        lr: learning rate of the surrogate (SGD, momentum 0.9, weight decay 5e-4, gradients clipped to norm 5).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("em[eps=4/255,rounds=2]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "any"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "rounds × steps passes with gradients over the set"

    published: ClassVar[Settings] = {"batch_size": 512, "surrogate": "resnet18"}

    granularity: Literal["sample", "class"] = "sample"
    eps: Eps = 8 / 255
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    steps: Annotated[int, Field(ge=0)] = 0
    train_steps: Annotated[int, Field(ge=1)] = 10
    stop_error: Annotated[float, Field(ge=0, le=1)] = 0.01
    rounds: Annotated[int, Field(ge=1)] = 30
    surrogate: str = "resnet8[width=8]"
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1

    @property
    def passes(self) -> float:
        """Every round passes over the set (class-wise: a fifth of it) once per signed step.

        Classification reaches ``stop_error`` after two to seven rounds; dense tasks run all rounds.
        """
        share = SUBSET if self.granularity == "class" else 1.0
        return min(self.rounds, USUAL_ROUNDS) * share * (self.steps or PUBLISHED_STEPS[self.granularity])

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Alternate between surrogate and noise."""
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        if self.granularity == "class":
            labels = labels_of(data, task)
            seed = arrays.draw_seed(generator)
            limit = max(round(SUBSET * len(data)), min(len(data), 10 * len(labels.unique())))
            part = balanced(data, limit, seed=seed, target=task.target)
            noise = torch.zeros(int(labels.max()) + 1, *data.shape)
            yield from self.rounds_on(
                noise, part, labels_of(part, task), model, task, generator, draft, training=(data, labels)
            )
            return (yield from add_noise(data, lambda part: noise[labels[part]], eps=self.eps))
        noise = torch.zeros(data.pixels.shape)
        yield from self.rounds_on(noise, data, torch.arange(len(data)), model, task, generator, draft)
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))

    def rounds_on(
        self, noise: Tensor, data: Data, rows: Tensor, model: nn.Module, task: Task, generator: torch.Generator,
        draft: Draft, training: tuple[Data, Tensor] | None = None,
    ) -> Generator[Progress, None, None]:  # fmt: skip
        """Alternate between surrogate and noise, both updated in place.

        Args:
            noise: (rows, channels, height, width), for images in [0, 1].
            data: images on which the noise is crafted and the error is measured.
            rows: index of the noise of each image, (n,).
            model: the surrogate.
            task: the source task.
            generator: of the batches.
            draft: keeps the state and the error of every round.
            training: images on which the surrogate is trained, and their rows; None takes ``data``.
        """
        error = torch.ones(())
        batches = shuffled(len(data), self.batch_size, generator)
        source, source_rows = training or (data, rows)
        train_batches = shuffled(len(source), self.batch_size, generator) if training else batches
        optimizer = torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4)
        done = draft.enter("rounds", noise=noise, error=error, model=model, optimizer=optimizer)
        for number in range(done + 1, self.rounds + 1):
            if float(error) <= self.stop_error:
                break
            model.train()
            first = (number - 1) * self.train_steps % len(train_batches)
            for batch in itertools.islice(itertools.cycle(train_batches), first, first + self.train_steps):
                images, delta, target = _load(source, task, batch, noise[source_rows[batch]], model)
                clipped_step(model, optimizer, task.loss(model((images + delta).clamp(0, 1)), target).mean())
            model.eval()
            for batch in batches:
                share(noise, rows[batch], self._descend(data, task, batch, noise[rows[batch]], model), self.eps)
            error.fill_(_error(data, task, batches, noise, rows, model))
            draft.keep(number, float(error))
            yield Progress(number, self.rounds, f"error {float(error):.3f}")

    def _descend(self, data: Data, task: Task, batch: Tensor, start: Tensor, model: nn.Module) -> Tensor:
        images, noise, target = _load(data, task, batch, start, model)
        return pgd.descend(
            images, noise, lambda x: task.loss(model(x), target), eps=self.eps,
            step_size=self.step_size or self.eps / 10, steps=self.steps or PUBLISHED_STEPS[self.granularity],
        ).cpu()  # fmt: skip


def _load(data: Data, task: Task, batch: Tensor, noise: Tensor, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    device = next(model.parameters()).device
    images, target = load(data, task, batch, device)
    return images, noise.to(device), target


@torch.no_grad()
def _error(data: Data, task: Task, batches: list[Tensor], noise: Tensor, rows: Tensor, model: nn.Module) -> float:
    """Return 1 − accuracy, or for other metrics 1 − the normalized gain over the best constant."""
    qualities = []
    for batch in batches:
        images, delta, target = _load(data, task, batch, noise[rows[batch]], model)
        qualities.append(task.quality(model((images + delta).clamp(0, 1)), target))
    quality = arrays.float64(torch.cat(qualities)).nanmean()
    return 1 - float(quality if task.metric == "accuracy" else quality_gain(task, quality))
