"""Labels for unlabeled images: clusters of colors and edges on a coarse grid."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pixels

GRID = 4  # cells along each axis
DIRECTIONS = 4  # of edges


def clustered(pixels: Pixels, count: int, *, seed: int = 0) -> Tensor:
    """Return one cluster per image, int64 (n,): k-means on standardized mean colors and edge strengths of 4×4 cells.

    Clusters follow light and layout more than content, so noise and tests based on them are weaker than with labels.

    Args:
        pixels: images of one size.
        count: maximum number of clusters.
        seed: of the initial centers.
    """
    from sklearn.cluster import KMeans

    features = np.concatenate([_features(pixels[part]) for part in arrays.chunks(len(pixels), 256)])
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    found = KMeans(min(count, len(pixels)), n_init=4, random_state=seed).fit_predict(features)
    return torch.from_numpy(found.astype(np.int64))


def _features(pixels: Pixels) -> NDArray[np.float32]:
    images = arrays.unit_images(pixels)
    gray = images.mean(1, keepdim=True)
    down, across = gray[..., 1:, :-1] - gray[..., :-1, :-1], gray[..., :-1, 1:] - gray[..., :-1, :-1]
    strength, angle = torch.hypot(down, across), torch.atan2(down, across) % torch.pi
    sector = (angle / torch.pi * DIRECTIONS).long().clamp(max=DIRECTIONS - 1)
    edges = torch.cat([strength * (sector == direction) for direction in range(DIRECTIONS)], 1)
    parts = [functional.adaptive_avg_pool2d(values, GRID).flatten(1) for values in (images, edges)]
    return torch.cat(parts, 1).numpy()
