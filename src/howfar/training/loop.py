"""The training loop: a generator, so that the caller can measure between epochs."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.models import channels_last, fit_images, in_eval_mode
from howfar.tasks import Criterion, Pair, Task, given, smoothed
from howfar.training.augment import Moves
from howfar.training.averaging import Averaging
from howfar.training.explain import explained
from howfar.training.loss import Around, Loss, plain, unchanged
from howfar.training.precision import autocast
from howfar.training.process_group import process_group
from howfar.training.recipe import Recipe

VERSION = 1
RESIDENT_BYTES = 4 * 2**30  # data sets up to this size are kept on the GPU


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        number: counted from 1.
        loss: mean training loss over the epoch in training mode, nats for classification; with label smoothing if
            the recipe has it.
        learning_rate: at the end of the epoch.
        seconds: wall time of the epoch.
    """

    number: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        number: counted from 1, over all epochs.
        epoch: number of the epoch, counted from 1.
        last: whether it is the last batch of the epoch.
        images: number of images in the batch.
        loss: sum over the batch of the training loss, on the device.
        learning_rate: after the step.
    """

    number: int
    epoch: int
    last: bool
    images: int
    loss: Tensor
    learning_rate: float


@explained
def train(
    model: nn.Module, data: Data, task: Task | Criterion | None = None, recipe: Recipe | None = None, *,
    loss: Loss = plain, around: Around = unchanged, seed: int = 0,
) -> Iterator[Epoch]:  # fmt: skip
    """Train ``model`` in place on its own device; yields after every epoch, so that the caller can measure.

    Args:
        model: trained in place, with channels-last weights; layers with ``fit_images`` are fitted to the images first.
        data: training images, already purified.
        task: what to learn; or a loss (``Task.from_loss``). None classifies.
        recipe: optimizer, schedule, augmentation, precision. None takes ``Recipe()``: 15 epochs of
            SGD on images that are shifted by up to 4 pixels and mirrored.
        loss: the training loss.
        around: the defense's wrapper around the loss; called in every epoch.
        seed: of batch order and augmentation.

    Raises:
        HowfarError: if the loss is not finite.

    Example:
        >>> from howfar import DATASETS, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> losses = [epoch.loss for epoch in train(model, data, recipe=Recipe(epochs=3, crop=0, flip=False))]
        >>> losses[0] > losses[-1]
        True
    """
    recipe = recipe or Recipe()
    if not isinstance(recipe, Recipe):
        raise UsageError(f"{recipe!r} is not a recipe. Pass Recipe(epochs=15, lr=0.05), or one of RECIPES.")
    start, total = time.perf_counter(), torch.zeros(())
    for step in steps(model, data, task, recipe, loss=loss, around=around, seed=seed):
        total = total.to(step.loss) + step.loss
        if not step.last:
            continue
        value = float(total) / len(data)
        if not math.isfinite(value):
            raise HowfarError(
                f"training diverged: the loss of epoch {step.epoch} is {value}. "
                f"Lower the learning rate ({recipe.lr}), for instance --set train.lr={recipe.lr / 10:g}."
            )
        yield Epoch(step.epoch, value, step.learning_rate, time.perf_counter() - start)
        start, total = time.perf_counter(), torch.zeros(())


def steps(
    model: nn.Module, data: Data, task: Task | Criterion | None = None, recipe: Recipe | None = None, *,
    loss: Loss = plain, around: Around = unchanged, seed: int = 0,
) -> Iterator[Batch]:  # fmt: skip
    """Do the same as ``train`` and yield after every batch. The caller must restore the training mode."""
    data, task = given(model, data, task)
    recipe = recipe or Recipe()
    device = next(model.parameters()).device
    peers = process_group(device.type)
    fit_images(model, data)
    channels_last(model)
    batches = _Batches(data, task, recipe, seed, device)
    count, total = batches.count, batches.count * recipe.epochs
    optimizer, schedule = recipe.optimizer_for(model, count, len(data) / count)
    averaging = Averaging(model, recipe.average, total)
    trained = smoothed(task, recipe.smoothing)
    for epoch in range(1, recipe.epochs + 1):
        generator = arrays.seeded(seed, "epoch", epoch)
        draws = arrays.seeded(seed, "epoch", epoch, "rank", peers.rank) if peers else generator
        current = around(loss, (epoch - 1) / recipe.epochs)
        model.train()
        for index, (images, target) in enumerate(batches.of_epoch(epoch, generator), 1):
            size = len(images)
            if peers:
                mine = peers.share(size)
                images, target = images[mine], pytree.tree_map(lambda values, mine=mine: values[mine], target)
            with autocast(recipe.precision, device):
                losses = current(trained, model, images, target, draws)
            mean = losses.float().sum() / size if peers else losses.float().mean()
            optimizer.zero_grad(set_to_none=True)
            mean.backward()
            summed = mean.detach() * size
            if peers:
                peers.add([summed, *(weights.grad for weights in model.parameters() if weights.grad is not None)])
                if index == count:
                    peers.average_buffers(model)
            optimizer.step()
            schedule.step()
            number = (epoch - 1) * count + index
            averaging.step(number)
            yield Batch(number, epoch, index == count, size, summed, float(schedule.get_last_lr()[0]))


class _Batches:
    """The training images in random batches of equal size, with random crops and flips."""

    def __init__(self, data: Data, task: Task, recipe: Recipe, seed: int, device: torch.device) -> None:
        self.task, self.recipe, self.device = task, recipe, device
        self.images = len(data)
        # Of equal size, as BatchNorm would fail on a last batch of one image.
        self.count = math.ceil(self.images / recipe.batch_size)
        self.pixels, self.targets = _resident(data, task, device)
        turns = arrays.seeded(seed, "turns")
        self.turns = torch.rand(self.images, generator=turns) < 0.5 if recipe.alternate and recipe.flip else None

    def of_epoch(self, epoch: int, generator: Generator) -> Iterator[tuple[Images, Any]]:
        """Yield images and targets, on the device."""
        recipe, device = self.recipe, self.device
        order = torch.randperm(self.images, generator=generator)
        for batch in order.tensor_split(self.count):
            raw, target = arrays.at(self.pixels, batch, device), arrays.at(self.targets, batch, device)
            moves = Moves.drawn(
                raw.shape, crop=recipe.crop, flip=recipe.flip, generator=generator,
                reflect=recipe.padding == "reflect",
                mirrored=None if self.turns is None else self.turns[batch] ^ (epoch % 2 == 0),
            )  # fmt: skip
            yield arrays.to_images(moves.of_images(raw), device), moved_targets(moves, self.task, target)


@explained
@torch.no_grad()
def evaluate(
    model: nn.Module, data: Data | Pair, task: Task | Criterion | None = None, *, batch_size: int = 128
) -> dict[str, float]:
    """Return loss and metrics of the task for the model in eval mode; the modes of all modules are restored.

    Args:
        model: on the device to compute on.
        data: test images; or ``(X, y)``, network inputs and targets.
        task: defines loss and metrics; or a loss (``Task.from_loss``). None classifies.
        batch_size: images at a time.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import evaluate
        >>> sorted(evaluate(model, (X, y)))
        ['accuracy', 'loss']
    """
    data, task = given(model, data, task)
    device = next(model.parameters()).device
    losses = arrays.float64(torch.zeros((), device=device))
    found: Any = None
    targets = data.targets_of(task.target)
    with in_eval_mode(model):
        for part in arrays.chunks(len(data), batch_size):
            output = model(arrays.to_images(data.pixels[part], device))
            target = arrays.at(targets, part, device)
            losses += arrays.float64(task.loss(output, target)).sum()
            some = task.statistics(output, target)
            found = some if found is None else pytree.tree_map(torch.add, found, some)
    return {"loss": float(losses) / len(data), **task.metrics(pytree.tree_map(lambda value: value.cpu(), found))}


def _resident(data: Data, task: Task, device: torch.device) -> tuple[Tensor, Any]:
    targets = data.targets_of(task.target)
    if device.type == "cuda" and data.pixels.numel() <= RESIDENT_BYTES:
        return data.pixels.to(device), pytree.tree_map(lambda values: values.to(device), targets)
    return data.pixels, targets


def moved_targets(moves: Moves, task: Task, target: Any) -> Any:
    """Return the targets of moved images: maps are moved, and values such as directions are mirrored."""
    if moves.source is None:
        return target
    moved = pytree.tree_map(moves.of_map, target)
    return task.transformed(moved, moves.linear) if moves.mirrored.any() else moved
