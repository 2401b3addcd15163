"""Fuse convolutions with the batch normalization, addition and ReLU that follow, for inference only.

On a CPU, oneDNN computes the fused operation while the result is in the cache. Landscapes need no gradients.
``benchmarks/fused_forward.py`` compares it with ``torch.compile`` and bf16.
"""

import functools
import logging
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from howfar.probe.fold import alike, rescaled, scale_and_shift, unhooked, untouched

ADDITIONS = (operator.add, torch.add)
RELUS = (functional.relu, torch.relu)
KERNELS: Any = torch.ops.mkldnn  # private: without them, Fused computes the same one operation after the other
LOG = logging.getLogger(__name__)


class Fused(nn.Module):
    """A convolution with the batch normalization, addition and ReLU that follow it, if present."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.BatchNorm2d | None = None
        self.relu = self.overwrites = False
        self._made: tuple[Any, tuple[Tensor, Tensor]] | None = None

    def forward(self, images: Tensor, summand: Tensor | None = None) -> Any:
        """Return the result, in the memory of ``summand`` if ``overwrites`` is set."""
        conv, (weight, bias) = self.conv, self._weight_and_bias()
        if not _has_kernels(images):
            output = conv._conv_forward(images, weight, bias)
            output = output if summand is None else output.add_(summand)
            return output.relu_() if self.relu else output
        sizes = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        if summand is None:
            last: tuple[Any, ...] = "relu" if self.relu else "none", [], ""
            return KERNELS._convolution_pointwise(images, weight, bias, *sizes, *last)
        last = "add", 1.0, "relu" if self.relu else None, [], ""
        if self.overwrites:
            return KERNELS._convolution_pointwise_.binary(summand, images, weight, bias, *sizes, *last)
        return KERNELS._convolution_pointwise.binary(images, summand, weight, bias, *sizes, *last)

    def _weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias with the normalization folded in, recomputed only after a change."""
        conv, norm = self.conv, self.norm
        if norm is None:
            return conv.weight, conv.bias
        sources = conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var
        state = [(each.data_ptr(), each._version) for each in sources if each is not None]
        if self._made is None or self._made[0] != state:
            self._made = state, rescaled(conv, *scale_and_shift(norm))
        return self._made[1]


def _has_kernels(images: Tensor) -> bool:
    plain = images.device.type == "cpu" and images.dtype == torch.float32
    return plain and torch.backends.mkldnn.is_available()


@torch.no_grad()
def fused(model: nn.Module, images: Tensor) -> Callable[[Tensor], Any]:
    """Return a faster function for the outputs of an eval-mode network, valid for any later weights and buffers.

    Args:
        model: returned unchanged if ``torch.fx`` cannot trace it, or if the outputs would differ.
        images: a few, on which outputs are compared.
    """
    plain = model(images)
    try:
        traced = fx.GraphModule(model, _Tracer(images).trace(model))
        _rewrite(traced)
        if alike(plain, traced(images)):
            return traced
        reason = "outputs would differ"
    except Exception as error:  # tracing fails in many ways, and every network works without it
        reason = str(error).partition("\n")[0]
    _log_once(f"{type(model).__name__} is evaluated without fused convolutions, up to 1.7 times slower: {reason}")
    return model


@functools.cache
def _log_once(text: str) -> None:
    LOG.info(text)


class _Tracer(fx.Tracer):
    """Traces a network whose control flow depends on sizes, as decoders do: the sizes are those of ``images``."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.evaluating = images, False

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Return the value of a condition, unless it depends on the content of the images."""
        if not _is_about_sizes(obj.node):
            return super().to_bool(obj)
        condition, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        condition.graph_copy(obj.node.graph, copies)
        condition.output(copies[obj.node])
        self.evaluating = True  # what runs now is not traced
        try:
            return bool(fx.GraphModule(self.root, condition)(self.images))
        finally:
            self.evaluating = False

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the output of a module: a node, or a value while a condition is evaluated."""
        return forward(*args, **kwargs) if self.evaluating else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return a weight: a node, or the weight itself while a condition is evaluated."""
        return attr_val if self.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)


def _is_about_sizes(node: fx.Node) -> bool:
    size = node.target is getattr and node.args[1] in ("shape", "ndim")
    return size or (bool(node.all_input_nodes) and all(map(_is_about_sizes, node.all_input_nodes)))


def _rewrite(traced: fx.GraphModule) -> None:
    """Replace every convolution and the operations that follow it by one module."""
    modules, made = dict(traced.named_modules()), list[tuple[fx.Node, Fused]]()
    for node in list(traced.graph.nodes):
        if _is_a(nn.Identity, _called(node, modules)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            traced.graph.erase_node(node)
    for number, node in enumerate(list(traced.graph.nodes)):
        conv = _called(node, modules)
        if isinstance(conv, nn.Conv2d) and _is_plain(conv):
            module, chain, inputs = _followed(node, conv, modules)
            name = f"fused_{number}"
            traced.add_submodule(name, module)
            with traced.graph.inserting_before(chain[-1]):
                new = traced.graph.call_module(name, tuple(inputs))
            chain[-1].replace_all_uses_with(new)
            for old in reversed(chain):
                traced.graph.erase_node(old)
            made.append((new, module))
    places, own = {node: place for place, node in enumerate(traced.graph.nodes)}, {node for node, _ in made}
    for node, module in made:
        *_, last = node.all_input_nodes
        last_reader = max(places[reader] for reader in last.users)
        module.overwrites = len(node.all_input_nodes) == 2 and last in own and last_reader == places[node]
    traced.recompile()


def _followed(
    node: fx.Node, conv: nn.Conv2d, modules: Mapping[str, nn.Module]
) -> tuple[Fused, list[fx.Node], list[fx.Node]]:
    """Return the fused module for a convolution, the nodes that it replaces, and its inputs."""
    module, chain, inputs, reader = Fused(conv), [node], node.all_input_nodes, _only_reader(node)
    norm = _called(reader, modules)
    if type(norm) is nn.BatchNorm2d and untouched(norm):
        module.norm = norm
        chain.append(reader)
        reader = _only_reader(reader)
    if (
        reader.op == "call_function"
        and reader.target in ADDITIONS
        and len(reader.all_input_nodes) == 2
        and not reader.kwargs
    ):
        inputs = inputs + [each for each in reader.all_input_nodes if each is not chain[-1]]
        chain.append(reader)
        reader = _only_reader(reader)
    if _is_relu(reader, modules):
        module.relu = True
        chain.append(reader)
    return module, chain, inputs


def _is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a node is a ReLU. Module targets are paths, so only their modules are checked."""
    if node.op == "call_function":
        return node.target in RELUS
    return (node.op == "call_method" and node.target == "relu") or _is_a(nn.ReLU, _called(node, modules))


def _is_a(kind: type[nn.Module], module: nn.Module | None) -> bool:
    """Return whether a module is of this exact class and has no hooks."""
    return module is not None and type(module) is kind and unhooked(module)


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether a convolution pads with a fixed number of zeros and has no hooks."""
    return untouched(conv) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _only_reader(node: fx.Node) -> fx.Node:
    """Return the only reader of a node; the node itself if there is none or more than one."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 else node


def _called(node: fx.Node, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None
