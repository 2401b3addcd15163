"""The denoising network of ``denoise`` and ``adaptive``."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import Images, Pixels
from howfar.data import Data
from howfar.defend.defense import Learner
from howfar.protectors.unet import noise_net

WIDTH = 16
LARGEST = 32 / 255  # maximum change of a pixel
BATCH = 64

Pairs = Callable[[Generator], tuple[Images, Images]]  # noisy and clean images of a batch, on the learner's device


def train_denoiser(pairs: Pairs, shape: tuple[int, int, int], learner: Learner, *, steps: int) -> nn.Module:
    """Train a U-Net to predict the noise in an image, with the mean absolute error.

    Args:
        pairs: returns a batch.
        shape: of an image.
        learner: provides randomness and device.
        steps: Adam steps, with a cosine schedule to zero.
    """
    generator = learner.generator("denoiser")
    net = noise_net(shape, WIDTH, LARGEST, generator=generator).to(learner.device)
    descent = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    for _ in range(steps):
        noisy, clean = pairs(generator)
        loss = (noisy - net(noisy) - clean).abs().mean()
        descent.zero_grad(set_to_none=True)
        loss.backward()
        descent.step()
        schedule.step()
    return net.eval()


def denoised(data: Data, net: nn.Module, device: torch.device) -> Data:
    """Return the images minus the predicted noise."""
    pixels: Pixels = arrays.empty_pixels(data.pixels.shape)
    for part in arrays.chunks(len(data), 512):
        images = arrays.to_images(data.pixels[part], device)
        with torch.no_grad():
            clean: Tensor = (images - net(images)).clamp(0, 1)
        pixels[part] = (clean * 255).round().to(torch.uint8).cpu()
    return data.with_pixels(pixels)
