"""Visibility of protection, measured on the 8-bit images."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.score.estimate import to_json

VERSION = 2  # 2: SSIM over valid windows only
WINDOW = 11  # side of SSIM's window in pixels


@dataclass(frozen=True)
class Visibility:
    """Difference between clean and protected images, after rounding.

    Attributes:
        linf: largest change of any value, in 1/255.
        l2: mean over images of the L2 norm, images in [0, 1].
        l0: mean share of pixels (positions) that changed.
        psnr: of the mean squared error over all images, dB; infinite where nothing changed.
        ssim: mean structural similarity of the channels (Wang et al., IEEE TIP 2004; 11×11 Gaussian window, sigma
            1.5) over the windows that lie inside the image, as in their code and scikit-image; NaN for images with a
            side below 11 pixels, which hold no such window.
    """

    linf: int
    l2: float
    l0: float
    psnr: float
    ssim: float

    def record(self) -> dict[str, Any]:
        """Return what a record keeps: the values, None for what is not finite, and how they were measured."""
        return {**to_json(asdict(self)), "version": VERSION}


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record; SSIM is None where an earlier version measured it, over padded borders."""
    found = {key: value for key, value in values.items() if key != "version"}
    return found if values.get("version") == VERSION or "ssim" not in found else {**found, "ssim": None}


def psnr_text(psnr: float | None, linf: int | float | None, unit: str = "") -> str:
    """Return a PSNR for people: ∞ where the images are identical, – where it is not known.

    Args:
        psnr: dB, as measured or as recorded.
        linf: largest change, which tells an infinite PSNR from a missing one.
        unit: what follows a number.
    """
    if linf == 0:
        return "∞"
    return f"{psnr:.1f}{unit}" if psnr is not None and math.isfinite(psnr) else "–"


def ssim_text(ssim: float | None) -> str:
    """Return an SSIM for people: – where it is not known."""
    return f"{ssim:.3f}" if ssim is not None and math.isfinite(ssim) else "–"


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
    return Visibility(linf, l2 / len(clean), l0 / len(clean), psnr, _mean_ssim(clean, protected, ssim_images))


def ssim(before: Tensor, after: Tensor) -> Tensor:
    """Return the structural similarity of each pair of images in [0, 1], (n, c, h, w) each -> (n,).

    The mean over channels and over windows that lie inside the image. NaN if a side is below 11 pixels.
    """
    from kornia.metrics import ssim as windows

    if min(before.shape[-2:]) < WINDOW:
        return torch.full((len(before),), math.nan)
    return windows(after, before, WINDOW, eps=0.0, padding="valid").double().flatten(1).mean(1)


def _mean_ssim(clean: Data, protected: Data, limit: int) -> float:
    index = torch.arange(0, len(clean), max(len(clean) // limit, 1))
    total = 0.0
    for some in index.split(256):
        differs = (clean.pixels[some] != protected.pixels[some]).flatten(1).any(1)
        total += float((~differs).sum())  # SSIM of identical images is 1
        before, after = (arrays.unit_images(data.pixels[some[differs]]) for data in (clean, protected))
        total += float(ssim(before, after).sum()) if differs.any() else 0.0
    return total / len(index) if min(clean.shape[1:]) >= WINDOW else math.nan
