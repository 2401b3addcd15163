"""A small vision transformer for small images."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar.errors import UsageError
from howfar.models.build import Architecture, Shape, Size

VERSION = 1


def vit_small(width: Size = 512, depth: Size = 6, heads: Size = 8, patch: Size = 4) -> Architecture:
    """ViT-small with patches of 4×4 (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; the paper's size).

    Args:
        width: length of a token, also of the hidden layer of each block.
        depth: number of blocks.
        heads: attention heads; must divide ``width``.
        patch: side of a patch in pixels; images are padded to a multiple of it.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["vit-small"](), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        9523722
    """
    return lambda shape, outputs: VisionTransformer(shape, outputs, width, depth, heads, patch)


class Block(nn.Module):
    """Pre-norm attention and a two-layer network, each with a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, tokens, width))
        hidden: Tensor = self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return x + hidden


class VisionTransformer(nn.Module):
    """Patches, a class token, learned position embeddings, blocks, and a linear head on the class token."""

    def __init__(self, shape: Shape, outputs: int, width: int, depth: int, heads: int, patch: int) -> None:
        super().__init__()
        if width % heads:
            raise UsageError(f"vit-small: {heads} heads do not divide a width of {width}. Use a divisor of it.")
        channels, height, breadth = shape
        count = math.ceil(height / patch) * math.ceil(breadth / patch)
        self.patch = patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, count + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self._tokens(images)[:, 0])
        return scores

    def pyramid(self, images: Tensor) -> list[Tensor]:
        rows, columns = (math.ceil(side / self.patch) for side in images.shape[2:])
        return [self._tokens(images)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))]

    def _tokens(self, images: Tensor) -> Tensor:
        bottom, right = (-images.shape[2] % self.patch, -images.shape[3] % self.patch)
        images = functional.pad(images, (0, right, 0, bottom))
        patches = functional.pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(images), -1, -1), self.embed(patches)], dim=1) + self.positions
        tokens: Tensor = self.norm(self.blocks(x))
        return tokens
