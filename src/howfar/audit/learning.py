"""How a small network learns the images: faster than what they show would let it, and by features that do not last."""

import math

import numpy as np
import torch

from howfar.audit.sample import Sample

SHIFT = 32  # of 255


def early(sample: Sample) -> float:
    """By how much the training loss of the first half is below that after the JPEG: mean over epochs ÷ log classes."""
    raw, clean = sample.trained.losses, sample.purified.trained.losses
    return float(np.mean(clean) - np.mean(raw)) / math.log(max(sample.classes, 2))


def fragile(sample: Sample) -> float:
    """How far the network falls behind one that learned after the JPEG, both judged after it: ÷ (accuracy − chance).

    Who learned what images show loses little; who learned noise has nothing left.
    """
    wise = sample.purified.trained.accuracy
    return (wise - sample.judged(sample.purified.halves[1])) / max(wise - sample.chance, 0.05)


def shifted(sample: Sample) -> float:
    """Share of the accuracy above chance that the network loses when all images of the second half get brighter.

    After the bias-shift test (Zhu et al., AAAI 2024, arXiv:2312.08898).
    """
    second = sample.halves[1]
    brighter = second.with_pixels((second.pixels.to(torch.int16) + SHIFT).clamp(0, 255).to(torch.uint8))
    learned = max(sample.trained.accuracy - sample.chance, 0.05)
    return (sample.trained.accuracy - sample.judged(brighter)) / learned


def gain(sample: Sample) -> float:
    """Held-out accuracy that the network loses when it learns and is judged after the JPEG: ÷ (1 − chance)."""
    return (sample.trained.accuracy - sample.purified.trained.accuracy) / (1 - sample.chance)
