"""A whitening layer, fitted to the training images before training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.data import Data

SIDE = 2  # of a patch, pixels
IMAGES = 5000  # maximum number of images for the patch statistics
FLOOR = 5e-4  # added to every variance, relative to their mean, to limit the gain of weak directions
NULL = 1e-6  # variance, relative to their mean, below which a direction counts as absent from the images
DIGITS = 2.0**-20  # rounding of the weights, below which processors may differ


class Whitening(nn.Module):
    """Convolution with 2×2 patches onto their principal components, each of unit variance, and their negatives.

    Only the bias is trained. The weights are a buffer, which optimizers and SAL ignore, and which is saved and loaded
    with the network. Before ``fit_images``, every filter selects one pixel of the patch.
    """

    weight: Tensor
    shift: Tensor
    fitted: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = channels * SIDE**2
        unit = torch.eye(size).view(size, channels, SIDE, SIDE)
        self.register_buffer("weight", torch.cat([unit, -unit]).contiguous(memory_format=torch.channels_last))
        self.register_buffer("shift", torch.zeros(2 * size))
        self.register_buffer("fitted", torch.tensor(False))
        self.bias = nn.Parameter(torch.zeros(2 * size))

    def start_weights(self) -> None:
        """Initialize the bias with zeros."""
        nn.init.zeros_(self.bias)

    def fit_images(self, data: Data) -> None:
        """Fit the layer to the patches of these images; a fitted layer does not change.

        The statistics are sums of integers, so they are exact and do not depend on the order of the images.
        """
        if self.fitted:
            return
        rows, mean = principal_components(data)
        signed = torch.cat([rows, -rows])
        self.weight.copy_(_rounded(signed).view_as(self.weight))
        self.shift.copy_(_rounded(-signed @ mean))
        self.fitted.fill_(True)

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(images, self.weight, self.bias + self.shift)


def principal_components(data: Data) -> tuple[Tensor, Tensor]:
    """Return the whitening matrix of the image patches, and the mean patch; pixels are in [0, 1].

    Args:
        data: at most 5,000 images with the lowest ids are used.

    Returns:
        One row per component, (channels·4, channels·4) in float64, by descending variance, and the mean, (channels·4,).
        In each row the first large entry is positive. Directions without variance, such as the color of grayscale
        images, are replaced by the others in turn: amplified, the color of test images would drown what the network
        has learned, and the gradients of a batch normalization explode on a constant channel.
    """
    pixels = data.pixels[data.ids.argsort()[:IMAGES]]
    size = pixels.shape[1] * SIDE**2
    total, products, count = torch.zeros(size).double(), torch.zeros(size, size).double(), 0
    for part in arrays.chunks(len(pixels), 256):
        patches = functional.unfold(pixels[part].float(), SIDE).transpose(0, 1).flatten(1).double()
        total += patches.sum(1)
        products += patches @ patches.T
        count += patches.shape[1]
    mean = total / count
    covariance = (products / count - mean[:, None] * mean) / 255**2
    variances, vectors = torch.linalg.eigh(covariance)
    variances, rows = variances.flip(0).clamp_min(0), vectors.T.flip(0)
    present = int((variances > NULL * variances.mean()).sum()) or size
    variances, rows = (each[torch.arange(size) % present] for each in (variances, rows))
    floor = FLOOR * variances.mean() + torch.finfo(torch.float32).eps
    large = rows.abs() >= rows.abs().amax(1, keepdim=True) / 2
    signs = rows.gather(1, large.int().argmax(1, keepdim=True)).sign()
    return rows * signs / (variances[:, None] + floor).sqrt(), mean / 255


def _rounded(values: Tensor) -> Tensor:
    return ((values / DIGITS).round() * DIGITS).float()
