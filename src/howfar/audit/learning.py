"""Training dynamics of a small network: learning too fast, and features that do not survive JPEG."""

import math

import numpy as np
import torch

from howfar.audit.sample import Sample

SHIFT = 32  # of 255


def early(sample: Sample) -> float:
    """Training loss after JPEG minus training loss without, mean over epochs ÷ log(classes)."""
    raw, clean = sample.trained.losses, sample.purified.trained.losses
    return float(np.mean(clean) - np.mean(raw)) / math.log(max(sample.classes, 2))


def fragile(sample: Sample) -> float:
    """Accuracy on JPEG images that is lost by training without JPEG, ÷ (accuracy − chance).

    A network that relies on content loses little; one that relies on noise loses everything.
    """
    robust = sample.purified.trained.accuracy
    return (robust - sample.evaluated(sample.purified.halves[1])) / max(robust - sample.chance, 0.05)


def shifted(sample: Sample) -> float:
    """Share of the accuracy above chance that the network loses when the second half is brightened.

    After the bias-shift test (Zhu et al., AAAI 2024, arXiv:2312.08898).
    """
    second = sample.halves[1]
    brighter = second.with_pixels((second.pixels.to(torch.int16) + SHIFT).clamp(0, 255).to(torch.uint8))
    gain = max(sample.trained.accuracy - sample.chance, 0.05)
    return (sample.trained.accuracy - sample.evaluated(brighter)) / gain


def gain(sample: Sample) -> float:
    """Held-out accuracy that is lost by training and testing on JPEG images, ÷ (1 − chance)."""
    return (sample.trained.accuracy - sample.purified.trained.accuracy) / (1 - sample.chance)
