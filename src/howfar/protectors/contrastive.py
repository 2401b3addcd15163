"""Shared code of contrastive surrogates: pairs of views and the contrastive loss."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from howfar.arrays import Images, PerExample
from howfar.protectors.transforms import contrastive_view

PROJECTED = 128  # dimension of the projection
TEMPERATURE = 0.5


def simclr(model: nn.Module, images: Images, generator: Generator, *, strength: float = 1.0) -> PerExample:
    """Return the contrastive loss of every image (SimCLR, Chen et al., ICML 2020, arXiv:2002.05709), nats.

    Gradients flow through both views.

    Args:
        model: returns a projection of each image.
        images: at least two.
        generator: of the views.
        strength: of the views.
    """
    views = torch.cat([contrastive_view(images, strength, generator) for _ in range(2)])
    pairs = torch.arange(len(images), device=images.device).repeat(2)
    return contrast(model(views), pairs, TEMPERATURE).view(2, -1).mean(0)


def contrast(found: Tensor, labels: Tensor, temperature: float) -> PerExample:
    """Return the supervised contrastive loss of each row, nats; 0 for rows without others of the same label.

    Args:
        found: (n, features), n at least 2.
        labels: (n,).
        temperature: of the softmax over cosines.
    """
    unit = functional.normalize(found, dim=1)
    same = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(same, -1e9)
    partners = (labels[:, None] == labels[None, :]) & ~same
    scores = functional.log_softmax(logits, 1).masked_fill(~partners, 0).sum(1)
    return -scores / partners.sum(1).clamp_min(1)
