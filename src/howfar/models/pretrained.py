"""Networks that were trained on other images before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.errors import HowfarError, UsageError, require
from howfar.models.build import Architecture, Shape, Size
from howfar.models.features import last_linear
from howfar.models.modes import in_eval_mode
from howfar.models.published import Backbone, matching
from howfar.models.tuning import Tune, frozen_modules, set_trainable, with_adapters
from howfar.models.weights_file import CHANNELS, NETWORK, read_weights, require_same
from howfar.spec import Spec, parse

VERSION = 1
Normalization = Literal["imagenet", "inception"]
STATISTICS: dict[Normalization, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
STANDARDIZED = 1000  # images from which the scale of the features is taken
WIDTH = 1280  # features are scaled so that a step of Adam changes the scores as with so many features
FLOOR = 0.1  # least deviation of a feature, relative to their mean


def pretrained(
    weights: Path | None = None,
    data: str = "",
    network: str = "airbench:small",
    limit: Size = 50_000,
    tune: Tune = "all",
    rank: Size = 8,
    side: Annotated[int, Field(ge=0)] = 0,
    normalization: Normalization = "imagenet",
) -> Architecture:
    """A network pretrained on other images, from a file or trained here once, with a new head.

    The features are standardized by the learner's images and scaled by their number, so that one learning rate suits
    all networks and ways of tuning.

    Args:
        weights: safetensors file of a ResNet, ViT or EfficientNet-Lite0 in the naming of timm and torchvision, or
            written by ``howfar.pretrain``; read strictly, without pickle.
        data: instead of a file, the data set to pretrain on, e.g. ``cifar100``; trained once and kept in the store.
        network: to pretrain on ``data``, an entry of ``MODELS``.
        limit: maximum number of images of ``data``, class-balanced.
        tune: what is trained: ``all`` weights; ``linear``, the head alone (linear probe); ``last``, the last block and
            the head; or ``lora``, low-rank adapters of all layers (Hu et al., ICLR 2022) and the head.
        rank: of the adapters.
        side: side in pixels to which images are resized; 0 takes 96 for published networks (6 patches for ViTs), and
            keeps the images for others.
        normalization: of images for published networks: ``imagenet``, or ``inception`` (mean and deviation 0.5) for
            networks from TensorFlow and most ViTs of timm.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import howfar
        >>> data = howfar.DATASETS["digits"]().train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = howfar.pretrain(data, "resnet8[width=4]", Path(folder) / "digits.safetensors", epochs=1)
        ...     model = howfar.build(howfar.MODELS["pretrained"](file, tune="linear"), data.shape, outputs=10)
        >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
        ['head.weight', 'head.bias']
    """
    if (weights is None) == (not data):
        raise UsageError("pretrained needs either weights or data. Write pretrained:FILE or pretrained[data=cifar100].")
    return Pretrained(weights, data, network, limit, tune, rank, side, normalization)


def nested(settings: Mapping[str, Any]) -> list[Spec[Architecture]]:
    """Return the networks that settings name, whose versions are part of the key."""
    return [_parsed(settings["network"])] if settings["data"] else []


@dataclass(frozen=True)
class Pretrained:
    """The architecture; see ``pretrained`` for its attributes. With ``data``, weights are random until replaced."""

    weights: Path | None
    data: str
    network: str
    limit: int
    tune: Tune
    rank: int
    side: int
    normalization: Normalization

    def __call__(self, shape: Shape, outputs: int) -> nn.Module:
        """Return the network; its weights are loaded after initialization."""
        if self.tune == "lora":
            require("peft", "peft", "pretrained[tune=lora]")
        if self.weights is None:
            body, width = headless(_parsed(self.network).build(), shape)
            return Tuned(body, width, outputs, {}, self, published=False)
        tensors, metadata = read_weights(self.weights)
        named = metadata.get(NETWORK)
        if named is not None:
            return self._own(self.weights, named, metadata.get(CHANNELS, ""), tensors, shape, outputs)
        found = matching(tensors)
        if found is None:
            raise HowfarError(
                f"{self.weights} holds no network that is known here: ResNets, ViTs and tf_efficientnet_lite0 in the "
                "naming of timm or torchvision. Export the state_dict of one of these, without prefixes of its names."
            )
        name, make = found
        with torch.device("meta"):
            require_same(self.weights, tensors, make().state_dict(), name)
        body = make()
        return Tuned(body, body.width, outputs, tensors, self, published=True)

    def _own(
        self, path: Path, named: str, channels: str, tensors: dict[str, Tensor], shape: Shape, outputs: int
    ) -> nn.Module:
        """Return a network whose weights ``pretrain`` wrote."""
        if channels != str(shape[0]):
            raise UsageError(
                f"{path} was pretrained on images with {channels} channels, but these have {shape[0]}. "
                "Pretrain on images of the same kind."
            )
        spec = _parsed(named)
        with torch.device("meta"):
            wanted = headless(spec.build(), shape)[0].state_dict()
        require_same(path, tensors, wanted, spec.label)
        body, width = headless(spec.build(), shape)
        return Tuned(body, width, outputs, tensors, self, published=False)


def headless(architecture: Architecture, shape: Shape) -> tuple[nn.Module, int]:
    """Return a network that returns the inputs of its head, and their number."""
    body = architecture(shape, 1)
    head = last_linear(body)
    name = next(name for name, module in body.named_modules() if module is head)
    body.set_submodule(name, nn.Identity())
    return body, head.in_features


def _parsed(network: str) -> Spec[Architecture]:
    from howfar.models import MODELS

    spec = parse(network, MODELS, "model")
    if spec.name == "pretrained":
        raise UsageError("pretrained[network=pretrained] makes no sense. Name the network to train, such as resnet18.")
    return spec


class Tuned(nn.Module):
    """A pretrained body with standardized features and a new head.

    Attributes:
        body: returns features.
        center: mean of the features.
        scale: deviation of the features.
        fitted: whether both were taken from images.
        head: linear.
    """

    center: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(
        self, body: nn.Module, width: int, outputs: int, tensors: dict[str, Tensor], about: Pretrained, *,
        published: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self._places = {**dict(body.named_parameters()), **dict(body.named_buffers())}  # before adapters rename them
        self.body = with_adapters(body, about.rank) if about.tune == "lora" else body
        self.head = nn.Linear(width, outputs)
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("fitted", torch.tensor(False))
        self.side = about.side or (body.side if isinstance(body, Backbone) else 0)
        self._statistics = STATISTICS[about.normalization] if published else None
        self._tensors, self._tune, self._frozen = tensors, about.tune, list[nn.Module]()
        self._known = bool(tensors)

    def start_weights(self) -> None:
        """Load the weights and freeze those that are not trained."""
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                self._places[name].copy_(tensor)
        self._tensors, self._places = {}, {}
        for weight in self.head.parameters() if hasattr(self, "head") else ():
            nn.init.zeros_(weight)
        set_trainable(self.body, self._tune)
        self._frozen = frozen_modules(self.body)

    def train(self, mode: bool = True) -> "Tuned":
        """Set the mode; frozen modules stay in eval mode, so that their statistics do not change."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def fit_images(self, data: Data) -> None:
        """Take the scale of the features from these images; later calls have no effect.

        Raises:
            UsageError: if the network was not pretrained.
        """
        if self.fitted:
            return
        if not self._known:
            raise UsageError(
                "this network is not pretrained yet. howfar bench pretrains pretrained[data=...] on its own; in "
                "Python, call howfar.pretrain and pass weights=FILE."
            )
        pixels = data.pixels[data.ids.argsort()[:STANDARDIZED]]
        device = self.center.device
        with in_eval_mode(self), torch.no_grad():
            found = torch.cat([self._features(arrays.to_images(part, device)).float() for part in pixels.split(100)])
        deviation = found.std(0, unbiased=False)
        self.center.copy_(found.mean(0))
        least = FLOOR * float(deviation.mean()) + 1e-6
        self.scale.copy_(deviation.clamp_min(least) * found.shape[1] / WIDTH)
        self.fitted.fill_(True)

    def forward(self, images: Images) -> Tensor:
        scores: Tensor = self.head((self._features(images) - self.center) / self.scale)
        return scores

    def pyramid(self, images: Images) -> list[Tensor]:
        """Return the feature maps of the body."""
        levels: list[Tensor] = self.body.pyramid(self._prepared(images))  # type: ignore[operator]
        return levels

    def _features(self, images: Images) -> Tensor:
        found: Tensor = self.body(self._prepared(images))
        return found

    def _prepared(self, images: Tensor) -> Tensor:
        if self.side and images.shape[2:] != (self.side, self.side):
            images = functional.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        if self._statistics is None:
            return images
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in self._statistics)
        return (images.expand(-1, 3, -1, -1) - mean) / deviation
