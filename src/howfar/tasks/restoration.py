"""Image restoration: autoencoding and denoising."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import PerExample, PerPixel
from howfar.data import Data
from howfar.tasks.task import Prepare, constant_quality, derived, sample, unchanged

VERSION = 1
NOISE = 25 / 255  # standard deviation
LEAST = 1e-10  # lower bound of the mean squared error in PSNR


def autoencoding() -> Callable[[Data], "Restoration"]:
    """Reconstruction through the narrowest stage of the network; squared error, PSNR. Works with any images.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["autoencoding"]()(data)
        >>> task.metric, int(task.outputs)
        ('PSNR', 3)
    """
    prepare = derived("autoencoding", lambda data: (data.pixels, data.pixels))
    return partial(Restoration.of, target="autoencoding", prepare=prepare, skips=False)


def denoising() -> Callable[[Data], "Restoration"]:
    """Removal of added Gaussian noise of σ = 25/255; squared error, PSNR. Works with any images.

    Example:
        >>> import torch
        >>> from howfar import TASKS, Data
        >>> images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)
        >>> data = Data.from_arrays(images, torch.arange(40) % 2)
        >>> task = TASKS["denoising"]()(data)
        >>> task.metric, int(task.outputs)
        ('PSNR', 3)
    """
    return partial(Restoration.of, target="denoising", prepare=derived("denoising", _noisy), skips=True)


@dataclass(frozen=True)
class Restoration:
    """Image restoration with squared error and PSNR.

    Attributes:
        target: the image, uint8, (n, channels, height, width).
        outputs: number of channels; the network predicts values in [−1, 1].
        chance: PSNR of the mean image, dB.
        prepare: computes the target.
    """

    target: str
    outputs: PerPixel
    chance: float = 0.0
    metric: str = "PSNR"
    higher_is_better: bool = True
    prepare: Prepare = field(default=lambda data: data, repr=False)

    @classmethod
    def of(cls, data: Data, target: str, prepare: Prepare, skips: bool) -> "Restoration":
        """Return the task for this training set."""
        some = sample(prepare(data.take(data.ids.argsort()[:1000])), target)
        task = cls(target, PerPixel(some.shape[1], skips=skips), prepare=prepare)
        mean = _scaled(some).mean(0, keepdim=True)
        return cls(target, task.outputs, constant_quality(task, mean, some), prepare=prepare)

    @property
    def quality_chance(self) -> float:
        """Mean quality of the best constant prediction; equals ``chance``, as the metric is a mean over images."""
        return self.chance

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        """Return the image unchanged."""
        return unchanged(target, linear)

    def predict(self, output: Tensor) -> Tensor:
        """Return the image, uint8."""
        return ((output.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def loss(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the mean squared error of every image, values in [−1, 1]."""
        return ((output.float() - _scaled(target)) ** 2).flatten(1).mean(1)

    def quality(self, output: Tensor, target: Tensor) -> PerExample:
        """Return the PSNR of every image, dB, after clipping."""
        return -10 * (self.loss(output.clamp(-1, 1), target) / 4).clamp_min(LEAST).log10()

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the sum of PSNR, and the number of images."""
        quality = arrays.float64(self.quality(output, target))
        return torch.stack([quality.sum(), torch.full_like(quality.sum(), len(quality))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """Return the mean PSNR, dB."""
        return {"PSNR": float(statistics[0] / statistics[1])}


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


def _noisy(data: Data) -> tuple[Tensor, Tensor]:
    """Return noisy images, with noise drawn by id, and the images."""
    pixels = arrays.empty_pixels(data.pixels.shape)
    for index, key in enumerate(data.ids.tolist()):
        noise = arrays.rng_of(0, key).standard_normal(data.shape, dtype=np.float32) * (255 * NOISE)
        pixels[index] = (data.pixels[index] + torch.from_numpy(noise)).round().clamp(0, 255).to(torch.uint8)
    return pixels, data.pixels
