"""What protection costs the eye, measured on the 8-bit images."""

import math
from dataclasses import dataclass

import torch

from howfar import arrays
from howfar.data import Data


@dataclass(frozen=True)
class Visibility:
    """Difference between clean and protected images, after rounding.

    Attributes:
        linf: largest change of any value, in 1/255.
        l2: mean over images of the L2 norm, images in [0, 1].
        l0: mean share of pixels (positions) that changed.
        psnr: of the mean squared error over all images, dB; infinite where nothing changed.
        ssim: mean structural similarity (Wang et al. 2004; 11×11 Gaussian window, sigma 1.5).
    """

    linf: int
    l2: float
    l0: float
    psnr: float
    ssim: float


def visibility(clean: Data, protected: Data, *, ssim_images: int = 1000) -> Visibility:
    """Measure the change between two sets with the same ids in the same order.

    Args:
        clean: images before.
        protected: images after.
        ssim_images: SSIM is slow, so it is the mean over this many images, evenly spaced.
    """
    linf, l2, l0, squares = 0, 0.0, 0.0, 0.0
    for part in arrays.chunks(len(clean), 4096):
        difference = protected.pixels[part].int() - clean.pixels[part].int()
        linf = max(linf, int(difference.abs().max()))
        norms = (difference.double() / 255).flatten(1).square().sum(1)
        squares += float(norms.sum())
        l2 += float(norms.sqrt().sum())
        l0 += float((difference != 0).any(1).double().flatten(1).mean(1).sum())
    mean_square = squares / clean.pixels.numel()
    psnr = float("inf") if mean_square == 0 else -10 * math.log10(mean_square)
    return Visibility(linf, l2 / len(clean), l0 / len(clean), psnr, _ssim(clean, protected, ssim_images))


def _ssim(clean: Data, protected: Data, limit: int) -> float:
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    index = torch.arange(0, len(clean), max(len(clean) // limit, 1))
    total = 0.0
    for some in index.split(256):
        differs = (clean.pixels[some] != protected.pixels[some]).flatten(1).any(1)
        total += float((~differs).sum())  # what did not change is like itself
        if not differs.any():
            continue
        before, after = (arrays.unit_images(data.pixels[some[differs]]) for data in (clean, protected))
        values = ssim(after, before, data_range=1.0, reduction="none")
        total += float(torch.as_tensor(values).sum())
    return total / len(index)
