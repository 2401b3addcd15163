"""Fine-tuning of a pre-trained network."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from howfar import arrays
from howfar.data import DATASETS, Data
from howfar.defend.defense import Defense, Learner
from howfar.models.build import with_shared_backbone
from howfar.models.features import last_linear
from howfar.models.heads import backbone_of
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import train

VERSION = 1


def fine_tune(data: str, limit: int = 4000) -> Defense:
    """Fine-tuning: the network is pre-trained on another data set.

    Args:
        data: an entry of ``DATASETS``, e.g. ``cifar100``; its images are converted to the same size and channels.
        limit: maximum number of its training images, class-balanced.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> data = DATASETS["digits"]().train
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> learner = Learner(classification()(data), Recipe(epochs=1, crop=0, flip=False))
        >>> DEFENSES["fine-tune"](data="digits", limit=100).before(model, data, learner)  # trains it in place
    """
    return Defense(before=partial(_pretrain, other=data, limit=limit))


def _pretrain(model: nn.Module, data: Data, learner: Learner, *, other: str, limit: int) -> None:
    from howfar.data import balanced

    splits = parse(other, DATASETS, "dataset").build()
    known = fitted(balanced(splits.train, min(limit, len(splits.train))), data.shape)
    task = classification()(known)
    if backbone_of(model) is not model:
        other_network = with_shared_backbone(model, data.shape, task.outputs, generator=learner.generator("head"))
        list(train(other_network, known, task, learner.recipe, seed=learner.seed))
        return
    head = last_linear(model)
    weight, bias = head.weight.detach().clone(), None if head.bias is None else head.bias.detach().clone()
    generator = learner.generator("head")
    fresh = torch.empty(task.outputs, weight.shape[1])
    fresh.uniform_(-1, 1, generator=generator).div_(weight.shape[1] ** 0.5)
    _put(head, fresh.to(weight), None if bias is None else torch.zeros(task.outputs).to(bias))
    try:
        for _ in train(model, known, task, learner.recipe, seed=learner.seed):
            pass
    finally:
        _put(head, weight, bias)


def _put(head: nn.Linear, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    head.weight = nn.Parameter(weight)
    if bias is not None:
        head.bias = nn.Parameter(bias)
    head.out_features = len(weight)


def fitted(data: Data, shape: tuple[int, int, int]) -> Data:
    """Return images at another size and number of channels: resized, and converted by way of grayscale."""
    channels, height, width = shape
    pixels = arrays.empty_pixels((len(data), *shape))
    for part in arrays.chunks(len(data), 1024):
        images = arrays.unit_images(data.pixels[part])
        if images.shape[1] != channels:
            images = images.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if images.shape[-2:] != (height, width):
            images = functional.interpolate(images, (height, width), mode="bilinear", antialias=True)
        pixels[part] = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return data.with_pixels(pixels)
