"""Dependence of every tensor of a forward pass on the weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

# Tensor functions whose results do not depend on values; any other number or object may.
METADATA = {
    "__get__", "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point",
    "is_pinned", "is_same_size", "is_shared", "is_signed", "ndimension", "nelement", "numel", "size", "storage_offset",
    "stride", "type",
}  # fmt: skip
PLAIN = (type(None), bool, int, float, complex, str, bytes, slice, torch.dtype, torch.device, torch.Size)
ALL = -1  # every bit
ROOT = -1  # the caller of the network


class NotReplayableError(Exception):
    """The network cannot be traced, or its control flow differs from the recorded one, so no output can be reused."""


@dataclass
class Call:
    """One call of one module: ``end`` is the index after its last inner call, ``depends`` a bit set of weights."""

    module: nn.Module
    parent: int = ROOT
    end: int = 0
    depends: int = ALL
    output: Any = None
    fresh: bool = False  # the output is modified in place later, so every use needs a copy


class Flow(TorchFunctionMode):
    """Tracks through every operation which weights a tensor depends on.

    After a value leaves PyTorch or a tensor is modified in place, everything that follows depends on its weights.
    Tensors of unknown origin and objects of unknown types depend on every weight.

    Args:
        model: its parameters, buffers and tensor attributes depend on themselves only.
        images: its input.
        bits: the weights that may change, by ``id``.
        calls: module calls so far.
    """

    def __init__(self, model: nn.Module, images: Tensor, bits: dict[int, int], calls: list[Call]) -> None:
        super().__init__()
        values = [pytree.tree_leaves(list(vars(module).values())) for module in model.modules()]
        kept = [value for several in values for value in several if isinstance(value, Tensor)]
        known: dict[int, int] = {id(tensor): 0 for tensor in (images, *kept, *model.parameters(), *model.buffers())}
        self._known, self._alive = known | bits, kept  # ids are valid only while their tensors exist
        self._found = WeakIdKeyDictionary()
        self._scopes = WeakIdKeyDictionary()  # the call whose scope a tensor belongs to
        self._calls = calls
        self._leaked = 0
        self.running = [ROOT]

    def of(self, values: Any) -> int:
        """Return the union of the weights that these values depend on."""
        found = self._leaked
        for leaf in pytree.tree_leaves(values):
            if isinstance(leaf, Tensor):
                known = self._known.get(id(leaf))
                found |= self._found.get(leaf, ALL) if known is None else known
            elif type(leaf) not in PLAIN:
                found = ALL
        return found

    def to_caller(self, output: Any, call: int) -> None:
        """Move the tensors that a module returned to the scope of its caller."""
        for leaf in pytree.tree_leaves(output):
            if isinstance(leaf, Tensor) and self._scopes.get(leaf) == call:
                self._scopes[leaf] = self.running[-1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for leaf in taken:
            self._check_scope(leaf)
        versions = [leaf._version for leaf in taken]
        depends = self.of(taken)
        output = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in pytree.tree_leaves(output) if leaf is not None]
        escapes = func.__name__ not in METADATA and not all(isinstance(leaf, Tensor) for leaf in leaves)
        if escapes or versions != [leaf._version for leaf in taken]:
            self._leaked |= depends
        for leaf in leaves:
            if isinstance(leaf, Tensor) and id(leaf) not in self._known:
                self._found[leaf] = depends
                self._scopes.setdefault(leaf, self.running[-1])
        return output

    def _check_scope(self, tensor: Tensor) -> None:
        """Raise if a tensor left a module that may be skipped in another way than as its output."""
        scope = self._scopes.get(tensor, ROOT)
        while scope not in self.running:
            call = self._calls[scope]
            if call.depends != ALL:
                raise NotReplayableError(f"{type(call.module).__name__} passes on a tensor that it does not return")
            scope = call.parent
