"""A small network that takes noise off images: what ``denoise`` and ``adaptive`` train."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from howfar import arrays
from howfar.arrays import Images, Pixels
from howfar.data import Data
from howfar.defend.defense import Learner
from howfar.protect.unet import noise_net

WIDTH = 16
LARGEST = 32 / 255  # of what is taken off a pixel
BATCH = 64

Pairs = Callable[[Generator], tuple[Images, Images]]  # noisy and clean images of a batch, on the learner's device


def learned_denoiser(pairs: Pairs, shape: tuple[int, int, int], learner: Learner, *, steps: int) -> nn.Module:
    """Return a U-Net that predicts the noise in an image, trained on pairs by the mean absolute error.

    Args:
        pairs: returns a batch.
        shape: of an image.
        learner: whose randomness and device are used.
        steps: of Adam, the learning rate falling to zero along a cosine.
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
    """Return the images with the predicted noise taken off."""
    pixels: Pixels = arrays.empty_pixels(data.pixels.shape)
    for part in arrays.chunks(len(data), 512):
        images = arrays.to_images(data.pixels[part], device)
        with torch.no_grad():
            clean: Tensor = (images - net(images)).clamp(0, 1)
        pixels[part] = (clean * 255).round().to(torch.uint8).cpu()
    return data.with_pixels(pixels)
