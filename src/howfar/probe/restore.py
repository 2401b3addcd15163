"""Restore a network after probing, also after an error."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def restored(model: nn.Module, moving: Iterable[nn.Parameter]) -> Iterator[None]:
    """Restore weights, buffers, modes, flags, gradients and hooks bit for bit, also after an error or an interrupt.

    Args:
        model: any network.
        moving: the weights that the block may change.
    """
    tables = [
        (table, dict(table))
        for module in model.modules()
        for name, table in vars(module).items()
        if isinstance(table, dict) and (name == "_buffers" or "_hooks" in name)
    ]
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: (parameter.requires_grad, parameter.grad) for parameter in model.parameters()}
    tensors = (*moving, *model.buffers(), *(grad for _, grad in flags.values() if grad is not None))
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        _restore(values)
        for parameter, (flag, gradient) in flags.items():
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for module, mode in modes.items():
            module.training = mode
        for table, before in tables:
            table.clear()
            table.update(before)


@torch.no_grad()
def _restore(values: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, before in values:
        if not torch.equal(tensor, before):
            tensor.copy_(before)
