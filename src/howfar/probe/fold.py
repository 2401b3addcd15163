"""Fold eval-mode batch normalizations into the preceding convolutions while a network is probed.

In eval mode a batch normalization scales and shifts each channel, which the preceding convolution can do as well. On a
CPU its backward pass costs as much as a convolution's.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FACTORS = "_folded"  # attribute of a convolution with its scale and shift, known to replays
PLAIN = (type(None), bool, int, float, str)
CLOSE = 1e-3  # tolerance for outputs, relative to their norm


@contextmanager
def folded(model: nn.Module, images: Tensor, moving: Sequence[nn.Parameter]) -> Iterator[int]:
    """Fold batch normalizations that are the only reader of a convolution's output; yields the number of folded pairs.

    Subclasses, modules that are called twice, and modules with hooks or with a perturbed scale or shift are left alone.
    Weights stay in place, so they can be perturbed, replaced and differentiated as before.

    Args:
        model: in eval mode.
        images: a few, to trace the network.
        moving: parameters that will be perturbed.
    """
    fixed = {id(parameter) for parameter in moving}
    pairs: list[tuple[Any, Any]] = []
    try:
        with torch.no_grad():
            plain = model(images)
            pairs = [(conv, norm) for conv, norm in _pairs(model, images) if not _own(norm) & fixed]
            for conv, norm in pairs:
                _fold(conv, norm)
            if pairs and not alike(plain, model(images)):
                _unfold(pairs)
                pairs = []
        yield len(pairs)
    finally:
        _unfold(pairs)


def _pairs(model: nn.Module, images: Tensor) -> list[tuple[Any, Any]]:
    """Return convolutions with the batch normalizations that are the only readers of their outputs."""
    trace = _ReaderTrace(model)
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(trace.enter).remove)
            stack.callback(module.register_forward_hook(trace.leave).remove)
        with trace:
            model(images)
    return trace.pairs()


class _ReaderTrace(TorchFunctionMode):
    """Records which modules read the output of each convolution."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.plain = {module for module in model.modules() if untouched(module)}
        self.running: list[nn.Module] = []
        self.calls: list[nn.Module] = []
        self.made: dict[int, tuple[nn.Module, Tensor]] = {}  # keeps the tensors alive, so that no id is reused
        self.readers: dict[int, set[nn.Module]] = {}

    def enter(self, module: nn.Module, args: Any) -> None:
        self.running.append(module)
        self.calls.append(module)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()
        if type(module) in CONVOLUTIONS and isinstance(output, Tensor):
            self.made[id(output)] = (module, output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.running:
            for leaf in pytree.tree_leaves((args, kwargs)):
                if id(leaf) in self.made:
                    self.readers.setdefault(id(leaf), set()).add(self.running[-1])
        return func(*args, **(kwargs or {}))

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        found = []
        for key, (conv, _) in self.made.items():
            norm, *others = self.readers.get(key, {conv})
            once = self.calls.count(conv) == self.calls.count(norm) == 1
            if once and not others and type(norm) in NORMS and {conv, norm} <= self.plain:
                found.append((conv, norm))
        return found


def untouched(module: nn.Module) -> bool:
    """Return whether a convolution or an eval-mode batch normalization behaves exactly as its class does."""
    fixed = type(module) in NORMS and module.running_mean is not None and not module.training
    return (fixed or type(module) in CONVOLUTIONS) and unhooked(module)


def unhooked(module: nn.Module) -> bool:
    """Return whether calling a module only runs the forward method of its class."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(module, name) for name in hooks) and "forward" not in module.__dict__


def _own(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters(recurse=False)}


def _fold(conv: Any, norm: Any) -> None:
    scale, shift = conv.__dict__[FACTORS] = scale_and_shift(norm)

    def forward(images: Tensor) -> Any:
        return conv._conv_forward(images, *rescaled(conv, scale, shift))

    conv.__dict__["forward"] = forward
    norm.__dict__["forward"] = lambda images: images


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """Return the scale and shift per channel of an eval-mode batch normalization."""
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def rescaled(conv: Any, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that also scales and shifts its output channels."""
    weight = conv.weight * scale.view(-1, *[1] * (conv.weight.ndim - 1))
    return weight, shift if conv.bias is None else shift + conv.bias * scale


def _unfold(pairs: Sequence[tuple[nn.Module, nn.Module]]) -> None:
    for module in (module for pair in pairs for module in pair):
        module.__dict__.pop("forward", None)
        module.__dict__.pop(FACTORS, None)


def alike(first: Any, second: Any) -> bool:
    """Return whether two outputs are equal up to the order of summation.

    Outputs of unknown types count as different.
    """
    ones, others = pytree.tree_leaves(first), pytree.tree_leaves(second)
    return len(ones) == len(others) and all(map(_same, ones, others))


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and isinstance(one, PLAIN) and one == other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = one.double(), other.double()
    return bool((one - other).norm() <= CLOSE * one.norm())
