"""Training and eval mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a block, then restore the mode of every module.

    ``model.train(was_training)`` would set all modules to the mode of the outermost one, and so unfreeze frozen batch
    normalizations.

    Args:
        model: any network.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
