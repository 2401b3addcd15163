"""What of a pretrained network is trained: everything, the head, the last block, or low-rank adapters."""

import warnings
from typing import Literal

from torch import nn

from howfar.errors import UsageError

Tune = Literal["all", "linear", "last", "lora"]
ADAPTER = "lora_"  # in the names of peft's weights


def set_trainable(body: nn.Module, tune: Tune) -> None:
    """Freeze the weights of a network that are not trained."""
    last = {id(weight) for weight in last_block(body)} if tune == "last" else set()
    for name, weight in body.named_parameters():
        weight.requires_grad_(tune == "all" or id(weight) in last or (tune == "lora" and ADAPTER in name))
        if tune == "lora" and "lora_B" in name:
            nn.init.zeros_(weight)  # adapters start without effect


def last_block(body: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the last block and of what follows it.

    Blocks are the entries of the network's last ``nn.Sequential``, or of the innermost one if they are nested.

    Raises:
        UsageError: if the network has no blocks.
    """
    stages = [module for module in body.children() if isinstance(module, nn.Sequential)]
    if not stages:
        raise UsageError(f"{type(body).__name__} has no blocks, so tune=last is not possible. Use tune=linear or all.")
    block: nn.Module = stages[-1]
    while isinstance(block, nn.Sequential):
        block = block[-1]
    first = next(iter(block.parameters()))
    weights = list(body.parameters())
    return weights[next(place for place, weight in enumerate(weights) if weight is first) :]


def frozen_modules(body: nn.Module) -> list[nn.Module]:
    """Return the modules none of whose weights are trained."""
    return [module for module in body.modules() if not any(weight.requires_grad for weight in module.parameters())]


def with_adapters(body: nn.Module, rank: int) -> nn.Module:
    """Return the network with low-rank adapters of its linear layers and of its convolutions without groups."""
    from peft import LoraConfig, inject_adapter_in_model

    layers = [
        name for name, module in body.named_modules()
        if isinstance(module, nn.Linear) or (type(module) is nn.Conv2d and module.groups == 1)
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about merging, which is not done
        found: nn.Module = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers), body)
    return found
