"""Diffusion purification."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Generator

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.defend.defense import Defense, Learner
from howfar.errors import HowfarError, UsageError

VERSION = 2


def diffusion_purify(
    checkpoint: Path, time: Annotated[int, Field(ge=1)] = 100, stride: Annotated[int, Field(ge=1)] = 5
) -> Defense:
    """Diffusion purification: adds a little noise and denoises with a diffusion model (AVATAR, SaTML 2024).

    Differs from AVATAR's code: a DDPM with its discrete schedule and deterministic denoising (DDIM, arXiv:2010.02502)
    instead of a score model whose reverse SDE is solved with new noise in every step.

    Needs ``pip install 'howfar[diffusion]'`` and a folder in the layout of Hugging Face's diffusers (``config.json``
    and ``diffusion_pytorch_model.safetensors``) of a ``UNet2DModel`` that predicts noise, such as
    google/ddpm-cifar10-32.

    Args:
        checkpoint: the folder.
        time: noise steps of 1,000 (published: 100).
        stride: number of steps per denoising step.

    Example:
        >>> from howfar import DEFENSES
        >>> DEFENSES["diffusion-purify[checkpoint=ddpm-cifar10-32]"].passes  # read when it purifies
        1.0
    """
    return Defense(purify=partial(_purify, checkpoint=checkpoint, time=time, stride=stride))


def _purify(data: Data, learner: Learner, *, checkpoint: Path, time: int, stride: int) -> Data:
    net, kept = _model(checkpoint, data.shape, learner.device)
    if time > len(kept):
        raise UsageError(f"diffusion-purify: time={time} is more than the model's {len(kept)} steps. Use less.")
    generator = learner.generator("diffusion")
    pixels = arrays.empty_pixels(data.pixels.shape)
    for part in arrays.chunks(len(data), 64):
        images = arrays.to_images(data.pixels[part], learner.device)
        with torch.no_grad():
            drawn = _purified(net, kept, images, time, stride, generator)
        pixels[part] = (drawn * 255).round().to(torch.uint8).cpu()
    return data.with_pixels(pixels)


def _purified(net: Any, kept: torch.Tensor, images: Images, time: int, stride: int, generator: Generator) -> Images:
    """Return images after ``time`` noise steps and denoising; ``kept`` is ᾱ of every step."""
    noise = torch.randn(images.shape, generator=generator).to(images)
    last = time - 1  # the first step of noise has index 0
    state = kept[last].sqrt() * (2 * images - 1) + (1 - kept[last]).sqrt() * noise
    for step in range(last, -1, -stride):
        expected = net(state, step).sample
        clean = ((state - (1 - kept[step]).sqrt() * expected) / kept[step].sqrt()).clamp(-1, 1)
        if step < stride:
            break
        expected = (state - kept[step].sqrt() * clean) / (1 - kept[step]).sqrt()
        state = kept[step - stride].sqrt() * clean + (1 - kept[step - stride]).sqrt() * expected
    drawn: Images = (clean + 1) / 2
    return drawn


def _model(checkpoint: Path, shape: tuple[int, int, int], device: torch.device) -> tuple[Any, torch.Tensor]:
    """Return the network and ᾱ of all its steps."""
    try:
        from diffusers import DDPMScheduler, UNet2DModel
    except ImportError:
        raise UsageError("diffusion-purify needs diffusers. Run pip install 'howfar[diffusion]'.") from None
    if not (checkpoint / "config.json").is_file():
        raise UsageError(f"{checkpoint} contains no config.json. Give the folder of a diffusers UNet2DModel.")
    try:
        net = UNet2DModel.from_pretrained(checkpoint, use_safetensors=True, local_files_only=True)
        net = net.to(device).eval().requires_grad_(False)
        has_schedule = (checkpoint / "scheduler_config.json").is_file()
        schedule: Any = DDPMScheduler.from_pretrained(checkpoint) if has_schedule else DDPMScheduler()
    except Exception as error:  # parsers and loaders fail in many ways
        raise HowfarError(f"{checkpoint} cannot be read ({error}). Save it again with save_pretrained.") from None
    if net.config.in_channels != shape[0]:
        raise UsageError(f"{checkpoint} generates {net.config.in_channels} channels, but images have {shape[0]}.")
    return net, schedule.alphas_cumprod.to(device)
