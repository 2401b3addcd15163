"""Construction of networks with seeded weights, independent of PyTorch's global generator."""

import math
from collections.abc import Callable, Collection
from typing import Annotated, Literal, Protocol, get_args, runtime_checkable

import torch
from pydantic import Field
from torch import Generator, nn

from howfar.arrays import Heads, Outputs, PerPixel, seeded
from howfar.data import Data
from howfar.errors import UsageError, unknown
from howfar.models.heads import Only, Several, backbone_of, channels_of, with_heads

Size = Annotated[int, Field(ge=1)]  # of a network: channels, heads, sides
Shape = tuple[int, int, int]  # channels, height, width of one image
Kind = Literal["weights", "biases", "norms", "tokens"]  # of parameters
PAPER: tuple[Kind, ...] = ("weights",)  # the layers of the paper
Architecture = Callable[[Shape, int], nn.Module]  # image shape, number of outputs -> network


@runtime_checkable
class FitsImages(Protocol):
    """A module that is fitted to the training images once, before training."""

    def fit_images(self, data: Data) -> None:
        """Fit the module to the learner's images; later calls have no effect."""
        ...


@runtime_checkable
class StartsWeights(Protocol):
    """A module with an initialization of its own."""

    def start_weights(self) -> None:
        """Modify the weights after PyTorch's default initialization."""
        ...


def build(
    architecture: Architecture, shape: Shape, outputs: Outputs, *, generator: Generator | None = None
) -> nn.Module:
    """Return a network in training mode, with weights drawn from ``generator`` by PyTorch's default rules.

    Modules with a method ``start_weights`` then modify them.

    Args:
        architecture: an entry of ``MODELS``, called with its sizes.
        shape: channels, height and width of an image.
        outputs: number of outputs per image or per pixel, or ``Heads`` by name.
        generator: of the initial weights; None has seed 0.

    Raises:
        UsageError: for images below 8×8 pixels, or with other than 1 or 3 channels.

    Example:
        >>> from howfar import MODELS, build
        >>> build(MODELS["lenet5"](), (1, 28, 28), outputs=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    if not callable(architecture):
        raise UsageError(f"{architecture!r} is not an architecture. Take one from the table: MODELS['resnet18']().")
    channels, height, width = shape
    if channels not in (1, 3) or min(height, width) < 8:
        raise UsageError(f"images of shape {shape} cannot be used: networks take 1 or 3 channels and at least 8×8.")
    generator = generator or seeded(0)
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        if isinstance(outputs, int) and not isinstance(outputs, PerPixel):
            model = architecture(shape, outputs)
        else:
            model = with_heads(architecture(shape, 1), shape, outputs)
    for module in model.modules():
        _initialize(module, generator)
    for module in reversed(list(model.modules())):  # inner ones first
        if isinstance(module, StartsWeights):
            module.start_weights()
    return channels_last(model)


def fit_images(model: nn.Module, data: Data) -> None:
    """Fit modules such as whitening layers to the training images.

    ``train`` does this first. Call it before other training loops.

    Args:
        model: modified in place, unless it was fitted before.
        data: the learner's training images, protected and purified.
    """
    for module in model.modules():
        if isinstance(module, FitsImages):
            module.fit_images(data)


def with_shared_backbone(model: nn.Module, shape: Shape, outputs: Outputs, *, generator: Generator) -> nn.Module:
    """Return a network with new heads on the shared backbone of another one.

    Args:
        model: any network of ``MODELS``.
        shape: channels, height and width of an image.
        outputs: of the new heads.
        generator: of their weights.
    """
    backbone = backbone_of(model)
    heads = outputs if isinstance(outputs, Heads) else Heads({"only": outputs})
    with torch.random.fork_rng(devices=[]):
        found = Several(backbone, channels_of(backbone, shape), heads)
    for module in found.heads.modules():
        _initialize(module, generator)
    found.to(next(model.parameters()).device)
    return found if isinstance(outputs, Heads) else Only(found)


def channels_last(model: nn.Module) -> nn.Module:
    """Convert convolution weights to channels-last, which is faster on CPUs and GPUs; returns ``model``."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def weight_names(model: nn.Module, include: Collection[Kind] = PAPER) -> list[str]:
    """Return the names of the layers for SAL, as in ``named_parameters``: by default convolution and linear weights.

    Shared weights count once.

    Args:
        model: any network.
        include: ``weights`` of convolutions and linear layers (the paper's choice), their ``biases``, scale and shift
            of normalization (``norms``), and others, such as class token and positions (``tokens``).

    Raises:
        UsageError: for an unknown kind.
    """
    for name in set(include) - set(get_args(Kind)):
        raise unknown("kind of parameter", name, get_args(Kind))
    linear = (nn.Linear, nn.modules.conv._ConvNd)
    norm = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    kinds: dict[int, Kind] = {}
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            kind: Kind = "biases" if own == "bias" else "tokens"
            if isinstance(module, linear):
                kind = "weights" if own == "weight" else "biases"
            elif isinstance(module, norm):
                kind = "norms"
            kinds.setdefault(id(parameter), kind)
    return [name for name, parameter in model.named_parameters() if kinds[id(parameter)] in include]


def weights_of(model: nn.Module, include: Collection[Kind] = PAPER) -> dict[str, nn.Parameter]:
    """Return the layers of ``weight_names`` with their weights, in the same order.

    Raises:
        UsageError: for an unknown kind, or a network without such layers.
    """
    names = set(weight_names(model, include))
    if not names:
        others = tuple(kind for kind in get_args(Kind) if weight_names(model, (kind,)))
        fix = f"Pass include={others}." if others else "Give it a layer."
        raise UsageError(f"the network has no parameters of kind {', '.join(include) or 'none'} to measure. {fix}")
    return {name: weight for name, weight in model.named_parameters() if name in names}


def _initialize(module: nn.Module, generator: Generator) -> None:
    own = dict(module.named_parameters(recurse=False))
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
        module.reset_parameters()  # constants, no random draws
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    else:
        for parameter in own.values():  # tokens and position embeddings
            nn.init.normal_(parameter, std=0.02, generator=generator)
