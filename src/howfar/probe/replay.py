"""Run a network again from where one of its weights enters, with everything before it from memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
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
class _Call:
    """One call of one module: ``end`` is the index behind its last inner call, ``depends`` a set of weights in bits."""

    module: nn.Module
    parent: int = ROOT
    end: int = 0
    depends: int = ALL
    output: Any = None
    fresh: bool = False  # something writes into the output later, so every use needs a copy


class Replay:
    """A recorded forward pass that can be run again for a changed weight.

    While recording, every module call keeps its output, and every operation notes which weights its results depend on.
    Where the output of a call does not depend on the weight that has changed, replaying returns it from memory and
    skips all that happens inside: what lies in front of a layer, and whole branches and heads beside it. What runs
    again is the network's own code on the same tensors, so the result is bit for bit that of a whole pass. A call that
    returns objects of unknown types always runs again.

    Attributes:
        peak: bytes of all outputs at the end of the recording, before those that no replay needs were dropped.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
        self.model = model
        self.weights = weights
        self.bits = {name: 1 << index for index, name in enumerate(weights)}
        self.calls: list[_Call] = []
        self.peak = 0
        self._written: set[int] = set()
        self._position = 0
        self._changed = 0

    def record(self, images: Tensor) -> Any:
        """Run the network on ``images``, keep what its modules return, and return its output.

        Raises:
            NotReplayableError: if modules pass tensors to each other in other ways than by arguments and outputs.
        """
        output = self._record(images)
        written = {
            index
            for index, call in enumerate(self.calls)
            if call.depends != ALL and not call.fresh and any(_changed(call.output))
        }
        if written - self._written:  # an operation in place: keep copies from before it
            self._written |= written
            output = self._record(images)
        for call in self.calls:
            if call.depends != ALL:
                call.output = pytree.tree_map(_plain, call.output)
        self.peak = self.bytes
        self._forget_unused()
        return output

    def run(self, name: str, images: Tensor, weight: Tensor | None = None) -> Any:
        """Return the network's output for the present value of weight ``name``, all others as recorded.

        Args:
            name: the weight that has changed.
            images: those of the recording.
            weight: a value to use in place of the present one, which stays; may be batched by ``torch.vmap``.

        Raises:
            NotReplayableError: if the network calls other modules than when it was recorded.
        """
        self._position = 0
        self._changed = self.bits[name]
        with self._patched(self._replayed):
            return self.model(images) if weight is None else functional_call(self.model, {name: weight}, (images,))

    @property
    def bytes(self) -> int:
        """Memory that the kept outputs take."""
        sizes: dict[int, int] = {}
        for call in self.calls:
            for leaf in pytree.tree_leaves(call.output):
                if isinstance(leaf, Tensor):
                    storage = leaf.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())

    def _record(self, images: Tensor) -> Any:
        self.calls = []
        flow = _Flow(self.model, images, {id(self.weights[name]): bit for name, bit in self.bits.items()}, self.calls)
        with self._patched(partial(self._recorded, flow)), flow:
            return self.model(images)

    def _recorded(
        self, flow: "_Flow", module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:  # fmt: skip
        index = len(self.calls)
        call = _Call(module, flow.running[-1], fresh=index in self._written)
        self.calls.append(call)
        flow.running.append(index)
        output = forward(*args, **kwargs)
        flow.running.pop()
        call.end, call.depends = len(self.calls), flow.of(output)
        flow.hand_over(output, index)
        if call.depends != ALL:
            call.output = pytree.tree_map(lambda leaf: _Kept(leaf, call.fresh), output)
        return output

    def _replayed(self, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._position >= len(self.calls) or self.calls[self._position].module is not module:
            raise NotReplayableError(f"{type(module).__name__} is called where it was not when recorded")
        call = self.calls[self._position]
        if not call.depends & self._changed:
            self._position = call.end
            return pytree.tree_map(_copy, call.output) if call.fresh else call.output
        self._position += 1
        return forward(*args, **kwargs)

    def _forget_unused(self) -> None:
        """Drop the outputs that no weight needs: those inside a call that is itself taken from memory."""
        needed: set[int] = set()
        for bit in self.bits.values():
            index = 0
            while index < len(self.calls):
                if not self.calls[index].depends & bit:
                    needed.add(index)
                    index = self.calls[index].end
                else:
                    index += 1
        for index, call in enumerate(self.calls):
            if index not in needed:
                call.output = None

    @contextmanager
    def _patched(self, handle: Callable[..., Any]) -> Iterator[None]:
        """Let ``handle`` stand in for the ``forward`` of every module."""
        modules = list(self.model.modules())
        own = {module: module.__dict__["forward"] for module in modules if "forward" in module.__dict__}

        def stand_in(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: handle(module, forward, args, kwargs)

        try:
            for module in modules:
                module.__dict__["forward"] = stand_in(module, module.forward)
            yield
        finally:
            for module in modules:
                if module in own:
                    module.__dict__["forward"] = own[module]
                else:
                    module.__dict__.pop("forward", None)


class _Flow(TorchFunctionMode):
    """Follows which weights every tensor depends on, through every operation.

    Values that leave PyTorch, and tensors that something was written into, make all that follows depend on their
    weights. Tensors of unknown origin and objects of unknown types depend on every weight.

    Args:
        model: whose parameters, buffers and tensors kept as attributes depend on nothing but themselves.
        images: what it is run on.
        bits: the weights that may change, by ``id``.
        calls: of modules so far.
    """

    def __init__(self, model: nn.Module, images: Tensor, bits: dict[int, int], calls: list[_Call]) -> None:
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


class _Kept:
    """An output with the version it had when its module returned it."""

    def __init__(self, value: Any, copy: bool) -> None:
        self.original = value
        self.version = value._version if isinstance(value, Tensor) else 0
        self.value = _copy(value) if copy else value


def _changed(output: Any) -> Iterator[bool]:
    for kept in pytree.tree_leaves(output):
        yield isinstance(kept.original, Tensor) and kept.original._version != kept.version


def _plain(kept: _Kept) -> Any:
    return kept.value.detach() if isinstance(kept.value, Tensor) else kept.value


def _copy(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf
