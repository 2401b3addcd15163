"""Training and eval mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Keep a network in eval mode for a while; then every module gets back the mode it had, whatever happens.

    ``model.train(was_training)`` would not do: it gives all modules the mode of the outermost one, and so thaws a
    batch normalization that was frozen.

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
