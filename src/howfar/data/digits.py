"""scikit-learn's handwritten digits: real images that need no download."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional

from howfar.data.subset import halves
from howfar.data.types import Splits, labeled
from howfar.spec import LARGEST_SIDE


def digits(size: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 16) -> Splits:
    """Handwritten digits, 1,797 images of 10 classes (UCI Optical Recognition; bundled with scikit-learn).

    Args:
        size: side in pixels; the original 8×8 images are enlarged bilinearly.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["digits"](size=8).train
        Data(1347 images of 1×8×8; targets: label)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images.astype(np.float32))[:, None] * (255 / 16)
    large = functional.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    pixels = large.round().clamp(0, 255).to(torch.uint8)
    train, test = halves(labeled(pixels, torch.from_numpy(bunch.target)), 0.25)
    return Splits(train, test, classes=tuple("0123456789"), flip=False)
