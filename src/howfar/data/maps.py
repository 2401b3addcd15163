"""Targets computed from the image, as in Taskonomy: edges, keypoints, segments."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import Images, Pixels
from howfar.errors import require

BATCH = 256


def edge_texture(pixels: Pixels) -> Tensor:
    """Return Canny edges before thinning: gradient magnitude of the blurred image, (n, 1, h, w), non-negative.

    Canny, A Computational Approach to Edge Detection, PAMI 1986.
    """
    from kornia.filters import gaussian_blur2d, spatial_gradient

    def edges(gray: Images) -> Images:
        gradient = spatial_gradient(gaussian_blur2d(gray, (5, 5), (1.0, 1.0)), "sobel")
        size: Tensor = gradient.norm(dim=2)
        return size

    return _mapped(pixels, edges)


def keypoints2d(pixels: Pixels) -> Tensor:
    """Return the blob response: √ of the positive determinant of the Hessian, (n, 1, h, w).

    The detector of SURF (Bay et al., ECCV 2006), as in Taskonomy, without box filters.
    """
    from kornia.filters import gaussian_blur2d, spatial_gradient

    def blobs(gray: Images) -> Images:
        second = spatial_gradient(gaussian_blur2d(gray, (7, 7), (1.2, 1.2)), "diff", order=2)
        xx, xy, yy = second[:, :, 0], second[:, :, 1], second[:, :, 2]
        response: Tensor = (xx * yy - xy * xy).clamp_min(0).sqrt()
        return response

    return _mapped(pixels, blobs)


def segment_unsup2d(pixels: Pixels) -> Tensor:
    """Return segments of similar color, ranked by brightness, (n, 1, h, w) in [0, 1].

    Felzenszwalb and Huttenlocher, IJCV 2004. Ranks are comparable across images, unlike the algorithm's own numbers.
    """
    require("skimage", "tasks", "segment_unsup2d")
    from skimage.segmentation import felzenszwalb

    found = torch.empty(len(pixels), 1, *pixels.shape[2:])
    for index, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        segments = felzenszwalb(image, scale=100, sigma=0.8, min_size=max(image.shape[0] * image.shape[1] // 100, 2),
                                channel_axis=-1)  # fmt: skip
        sizes = np.bincount(segments.ravel())
        brightness = np.bincount(segments.ravel(), weights=image.mean(-1).ravel()) / sizes
        rank = np.empty(len(sizes), np.float32)
        rank[brightness.argsort(kind="stable")] = (np.arange(len(sizes)) + 0.5) / len(sizes)
        found[index, 0] = torch.from_numpy(rank[segments])
    return found.half()


def _mapped(pixels: Pixels, change: Callable[[Images], Images]) -> Tensor:
    parts = []
    for part in arrays.chunks(len(pixels), BATCH):
        gray = pixels[part].double().mean(1, keepdim=True) / 255  # float64, then float16: equal on all processors
        parts.append(change(gray).half())
    return torch.cat(parts)
