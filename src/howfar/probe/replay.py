"""Rerun a network for a changed weight, reusing all outputs that do not depend on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from howfar.probe.flow import ALL, Call, Flow, NotReplayableError


class Replay:
    """A recorded forward pass that can be rerun for a changed weight.

    During recording, every module call keeps its output, and every operation tracks which weights its results depend
    on. If the output of a call does not depend on the changed weight, a replay returns the kept output and skips the
    call: the layers before the weight, and parallel branches and heads. Everything else runs the network's own code on
    the same tensors, so the result equals a full pass bit for bit. A call that returns objects of unknown types always
    runs.

    Attributes:
        peak: bytes of all outputs at the end of the recording, before unused ones were dropped.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
        self.model = model
        self.weights = weights
        self.bits = {name: 1 << index for index, name in enumerate(weights)}
        self.calls: list[Call] = []
        self.peak = 0
        self._written: set[int] = set()
        self._position = 0
        self._changed = 0

    def record(self, images: Tensor) -> Any:
        """Run the network on ``images``, keep the outputs of its modules, and return its output.

        Raises:
            NotReplayableError: if modules pass tensors to each other other than by arguments and outputs.
        """
        output = self._record(images)
        written = {
            index
            for index, call in enumerate(self.calls)
            if call.depends != ALL and not call.fresh and any(_changed(call.output))
        }
        if written - self._written:  # an in-place operation: keep copies from before it
            self._written |= written
            output = self._record(images)
        for call in self.calls:
            if call.depends != ALL:
                call.output = pytree.tree_map(_plain, call.output)
        self.peak = self.bytes
        self._forget_unused()
        return output

    def run(self, name: str, images: Tensor, weight: Tensor | None = None) -> Any:
        """Return the network's output for the current value of weight ``name``, all others as recorded.

        Args:
            name: the changed weight.
            images: those of the recording.
            weight: value to use instead of the current one, which is kept; may be batched by ``torch.vmap``.

        Raises:
            NotReplayableError: if the network calls other modules than in the recording.
        """
        self._position = 0
        self._changed = self.bits[name]
        with self._patched(self._replayed):
            return self.model(images) if weight is None else functional_call(self.model, {name: weight}, (images,))

    @property
    def bytes(self) -> int:
        """Memory of the kept outputs."""
        sizes: dict[int, int] = {}
        for call in self.calls:
            for leaf in pytree.tree_leaves(call.output):
                if isinstance(leaf, Tensor):
                    storage = leaf.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())

    def _record(self, images: Tensor) -> Any:
        self.calls = []
        flow = Flow(self.model, images, {id(self.weights[name]): bit for name, bit in self.bits.items()}, self.calls)
        with self._patched(partial(self._recorded, flow)), flow:
            return self.model(images)

    def _recorded(
        self, flow: "Flow", module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:  # fmt: skip
        index = len(self.calls)
        call = Call(module, flow.running[-1], fresh=index in self._written)
        self.calls.append(call)
        flow.running.append(index)
        output = forward(*args, **kwargs)
        flow.running.pop()
        call.end, call.depends = len(self.calls), flow.of(output)
        flow.to_caller(output, index)
        if call.depends != ALL:
            call.output = pytree.tree_map(lambda leaf: _Kept(leaf, call.fresh), output)
        return output

    def _replayed(self, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._position >= len(self.calls) or self.calls[self._position].module is not module:
            raise NotReplayableError(
                f"{type(module).__name__} is called at a point where it was not called in the recording"
            )
        call = self.calls[self._position]
        if not call.depends & self._changed:
            self._position = call.end
            return pytree.tree_map(_copy, call.output) if call.fresh else call.output
        self._position += 1
        return forward(*args, **kwargs)

    def _forget_unused(self) -> None:
        """Drop outputs that no replay uses: those inside a call that is itself skipped."""
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
        """Replace the ``forward`` of every module by ``handle``."""
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


class _Kept:
    """An output with its version counter at the time when its module returned it."""

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
