"""Which weights every tensor of a forward pass depends on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

# Functions of tensors whose numbers say nothing of the values inside; any other number or object may hold them.
METADATA = {
    "__get__", "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point",
    "is_pinned", "is_same_size", "is_shared", "is_signed", "ndimension", "nelement", "numel", "size", "storage_offset",
    "stride", "type",
}  # fmt: skip
PLAIN = (type(None), bool, int, float, complex, str, bytes, slice, torch.dtype, torch.device, torch.Size)
ALL = -1  # every bit
ROOT = -1  # the caller of the network


class NotReplayableError(Exception):
    """The network cannot be followed, or takes another path than when recorded: nothing may come from memory."""


@dataclass
class Call:
    """One call of one module: ``end`` is the index behind its last inner call, ``depends`` a set of weights in bits."""

    module: nn.Module
    parent: int = ROOT
    end: int = 0
    depends: int = ALL
    output: Any = None
    fresh: bool = False  # something writes into the output later, so every use needs a copy


class Flow(TorchFunctionMode):
    """Follows which weights every tensor depends on, through every operation.

    Values that leave PyTorch, and tensors that something was written into, make all that follows depend on their
    weights. Tensors of unknown origin and objects of unknown types depend on every weight.

    Args:
        model: whose parameters, buffers and tensors kept as attributes depend on nothing but themselves.
        images: what it is run on.
        bits: the weights that may change, by ``id``.
        calls: of modules so far.
    """

    def __init__(self, model: nn.Module, images: Tensor, bits: dict[int, int], calls: list[Call]) -> None:
        super().__init__()
        values = [pytree.tree_leaves(list(vars(module).values())) for module in model.modules()]
        kept = [value for several in values for value in several if isinstance(value, Tensor)]
        known: dict[int, int] = {id(tensor): 0 for tensor in (images, *kept, *model.parameters(), *model.buffers())}
        self._known, self._alive = known | bits, kept  # an id means something while its tensor lives
        self._found = WeakIdKeyDictionary()
        self._scopes = WeakIdKeyDictionary()  # the call inside which a tensor is known
        self._calls = calls
        self._leaked = 0
        self.running = [ROOT]

    def of(self, values: Any) -> int:
        """Return the weights that any of these values depends on."""
        found = self._leaked
        for leaf in pytree.tree_leaves(values):
            if isinstance(leaf, Tensor):
                known = self._known.get(id(leaf))
                found |= self._found.get(leaf, ALL) if known is None else known
            elif type(leaf) not in PLAIN:
                found = ALL
        return found

    def hand_over(self, output: Any, call: int) -> None:
        """Let the caller of a module know the tensors that it returned."""
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
        told = func.__name__ not in METADATA and not all(isinstance(leaf, Tensor) for leaf in leaves)
        if told or versions != [leaf._version for leaf in taken]:
            self._leaked |= depends
        for leaf in leaves:
            if isinstance(leaf, Tensor) and id(leaf) not in self._known:
                self._found[leaf] = depends
                self._scopes.setdefault(leaf, self.running[-1])
        return output

    def _check_scope(self, tensor: Tensor) -> None:
        """Raise where a tensor left a module that may be skipped by another way than as its output."""
        scope = self._scopes.get(tensor, ROOT)
        while scope not in self.running:
            call = self._calls[scope]
            if call.depends != ALL:
                raise NotReplayableError(f"{type(call.module).__name__} hands on a tensor that it does not return")
            scope = call.parent
