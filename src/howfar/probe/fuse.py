"""Let every convolution do what follows it too, without gradients: batch normalisation, addition, ReLU.

On a CPU, oneDNN does all of it while a result is still in the cache. A landscape asks nothing else of a network.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from howfar.probe.fold import alike, rescaled, scale_and_shift, unhooked, untouched

ADDITIONS = (operator.add, torch.add)
RELUS = (functional.relu, torch.relu)
KERNELS: Any = torch.ops.mkldnn


class Fused(nn.Module):
    """A convolution, and the batch normalisation, the summand and the ReLU that follow it, as far as they do."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.BatchNorm2d | None = None
        self.relu = self.overwrites = False
        self._made: tuple[Any, tuple[Tensor, Tensor]] | None = None

    def forward(self, images: Tensor, summand: Tensor | None = None) -> Any:
        """Return the result, in the summand's memory if that ``overwrites``."""
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
        """Return what convolves and normalises at once, made anew only where something has changed."""
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
    """Return what gives the outputs of an eval-mode network faster, whatever its weights and buffers become.

    Args:
        model: is given back itself if ``torch.fx`` cannot follow it, or other outputs would come out.
        images: a few, on which outputs are compared.
    """
    plain = model(images)
    try:
        traced = fx.GraphModule(model, _Tracer(images).trace(model))
        _rewrite(traced)
        return traced if alike(plain, traced(images)) else model
    except Exception:  # networks that cannot be followed fail in many ways, and all work without
        return model


class _Tracer(fx.Tracer):
    """Follows a network that asks about sizes, as decoders do: they are those of the images given."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.answers = images, False

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Return the answer, unless it depends on what is in the images."""
        if not _is_about_sizes(obj.node):
            return super().to_bool(obj)
        asked, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        asked.graph_copy(obj.node.graph, copies)
        asked.output(copies[obj.node])
        self.answers = True  # what runs now is no part of what is followed
        try:
            return bool(fx.GraphModule(self.root, asked)(self.images))
        finally:
            self.answers = False

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return what a module gives: a node, or a value while a question is answered."""
        return forward(*args, **kwargs) if self.answers else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return a weight: a node, or itself while a question is answered."""
        return attr_val if self.answers else super().getattr(attr, attr_val, parameter_proxy_cache)


def _is_about_sizes(node: fx.Node) -> bool:
    size = node.target is getattr and node.args[1] in ("shape", "ndim")
    return size or (bool(node.all_input_nodes) and all(map(_is_about_sizes, node.all_input_nodes)))


def _rewrite(traced: fx.GraphModule) -> None:
    """Put one module in place of every convolution and of what follows it."""
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
    """Return the module that does what follows a convolution too, the nodes that it stands for, and what it takes."""
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
    """Return whether a node is a ReLU: targets of calls of modules are paths, which may read like anything."""
    if node.op == "call_function":
        return node.target in RELUS
    return (node.op == "call_method" and node.target == "relu") or _is_a(nn.ReLU, _called(node, modules))


def _is_a(kind: type[nn.Module], module: nn.Module | None) -> bool:
    """Return whether a module is of this very class, not of one derived from it, and does no more."""
    return module is not None and type(module) is kind and unhooked(module)


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether it pads with as many zeros as it says, and does no more."""
    return untouched(conv) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _only_reader(node: fx.Node) -> fx.Node:
    """Return the node that alone reads this one; itself if there is none or more."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 else node


def _called(node: fx.Node, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None
