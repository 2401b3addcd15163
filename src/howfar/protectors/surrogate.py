"""Shared code of protectors with a surrogate: training, crafting in batches, random batches of a set."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from howfar import __version__, arrays
from howfar.arrays import Images, Targets
from howfar.data import Data
from howfar.models import MODELS, build, channels_last, fit_images
from howfar.models.features import features
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress
from howfar.spec import parse
from howfar.tasks import Task
from howfar.training import Loss, Recipe, adversarial, pgd, plain, train
from howfar.training.loop import VERSION
from howfar.training.precision import autocast

CRAFTING = 128  # images crafted at a time

Batch = Callable[[Images, Targets, slice], Images]  # images, targets, their positions -> noise


def new_surrogate(
    label: str, data: Data, outputs: int, *, generator: torch.Generator, device: torch.device
) -> nn.Module:
    """Return an untrained entry of ``MODELS``, e.g. ``resnet18[width=16]``, fitted to the images.

    Forward passes use the machine's precision, as for victims; outputs and gradients of images are float32.
    """
    architecture = parse(label, MODELS, "model").build()
    model = build(architecture, data.shape, outputs, generator=generator)
    fit_images(model, data)
    # A partial rather than a closure, so that copies of the network use their own weights.
    model.forward = partial(_forward, model.forward, device)
    return model.to(device)


def _forward(forward: Callable[[Images], Any], device: torch.device, images: Images) -> Any:
    with autocast("auto", device):
        outputs = forward(images)
    return pytree.tree_map(Tensor.float, outputs)


def trained(
    model: nn.Module, data: Data, task: Task, recipe: Recipe, *, seed: int, draft: Draft, loss: Loss = plain
) -> Generator[Progress, None, None]:
    """Train a surrogate on clean images, unless the same one was trained before and is shared.

    Args:
        model: trained in place.
        data: training images.
        task: the source task.
        recipe: optimizer, schedule, augmentation.
        seed: of batches and augmentation.
        draft: shares the surrogate with other protectors, such as those with another eps.
        loss: ``plain``, or adversarial training.
    """
    recipe = replace(recipe, batch_size=min(recipe.batch_size, max(len(data) // 2, 1)))
    name = _name(model, data, task, recipe, seed, loss)
    if name and draft.fetch(name, model):
        channels_last(model)
        yield Progress(recipe.epochs, recipe.epochs, "surrogate loaded")
        return
    for epoch in train(model, data, task, recipe, loss=loss, seed=seed):
        yield Progress(epoch.number, recipe.epochs, f"surrogate, loss {epoch.loss:.3f}")
    if name:
        draft.share(name, model)


def robust_surrogate(
    label: str, data: Data, task: Task, recipe: Recipe, *, eps: float, generator: torch.Generator,
    device: torch.device, draft: Draft,
) -> Generator[Progress, None, nn.Module]:  # fmt: skip
    """Return a frozen surrogate that was trained adversarially; a resumed run restores its weights later.

    Args:
        label: an entry of ``MODELS``.
        data: training images.
        task: the source task.
        recipe: optimizer, schedule, augmentation.
        eps: L∞ radius of the adversarial training.
        generator: of initial weights and training.
        device: of the surrogate.
        draft: as in ``trained``.
    """
    model = new_surrogate(label, data, task.outputs, generator=generator, device=device)
    seed = arrays.draw_seed(generator)
    if not draft.reached("craft"):
        yield from trained(model, data, task, recipe, seed=seed, draft=draft, loss=partial(adversarial, eps=eps))
    freeze(model)
    return model


def _name(model: nn.Module, data: Data, task: Task, recipe: Recipe, seed: int, loss: Loss) -> str:
    """Return the hash of everything that determines a trained surrogate; empty if the loss cannot be identified."""
    settings = loss.keywords if isinstance(loss, partial) else {}
    what = loss.func if isinstance(loss, partial) else loss
    if hasattr(what, "__self__") or "<" in what.__qualname__:
        return ""
    weights = arrays.digest(*(values.cpu() for values in model.state_dict().values()))
    key = [type(model).__qualname__, weights, data.digest(), recipe.key(), seed, VERSION, __version__]
    key += [type(task).__qualname__, task.target, str(task.outputs), what.__module__, what.__qualname__, settings]
    return hashlib.sha256(arrays.canonical(key).encode()).hexdigest()[:20]


def freeze(model: nn.Module) -> None:
    """Put a network into eval mode and freeze its weights."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def craft_batches(
    data: Data, task: Task, craft: Batch, *, eps: float, generator: torch.Generator, device: torch.device,
    draft: Draft, **parts: nn.Module,
) -> Crafting:  # fmt: skip
    """Craft noise batch by batch against fixed surrogates.

    Args:
        data: clean images.
        task: the source task.
        craft: returns the noise of a batch, for images in [0, 1].
        eps: L∞ radius that holds after rounding.
        generator: kept in the draft, so that a resumed run draws the same numbers.
        device: of the batches.
        draft: keeps the state after every batch.
        parts: the surrogates, which are kept as well.
    """
    pixels = arrays.empty_pixels(data.pixels.shape)
    done = draft.enter("craft", pixels=pixels, generator=generator, **parts)
    batches = list(arrays.chunks(len(data), CRAFTING))
    for number, part in enumerate(batches[done:], done + 1):
        images = arrays.to_images(data.pixels[part], device)
        noise = craft(images, arrays.at(data.targets_of(task.target), part, device), part)
        pixels[part] = pgd.add_rounded(data.pixels[part], noise.detach().cpu(), eps=eps)
        draft.keep(number)
        yield Progress(number, len(batches))
    return data.with_pixels(pixels)


@torch.no_grad()
def centroids(model: nn.Module, data: Data, labels: Tensor, count: int, device: torch.device) -> Tensor:
    """Return the mean features of every class, (count, features); NaN for absent classes."""
    found = torch.cat(
        [features(model, arrays.to_images(data.pixels[part], device)) for part in arrays.chunks(len(data), 512)]
    )
    total = found.new_zeros(count, found.shape[1]).index_add_(0, labels.to(device), found)
    return total / labels.bincount(minlength=count).to(device)[:, None]


def clipped_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, *, norm: float = 5.0) -> None:
    """Take an optimizer step with gradients clipped to ``norm``, which is 5 in EM's released code."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), norm)
    optimizer.step()


def shuffled(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return random batches of indices; the last one has at least two, as BatchNorm cannot train on one image."""
    batches = list(torch.randperm(count, generator=generator).split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def load(data: Data, task: Task, batch: Tensor, device: torch.device) -> tuple[Images, Targets]:
    """Return images and targets at these indices."""
    return arrays.to_images(data.pixels[batch], device), arrays.at(data.targets_of(task.target), batch, device)
