"""A device without float64, played by the CPU: whoever makes a float64 tensor on it gets the error of Apple's GPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")  # the one type of device that every build of PyTorch accepts without hardware


class OnDevice(Tensor):
    """A tensor that says it is on the device; its values are on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnDevice":
        if values.dtype == torch.float64:
            raise TypeError("the device has no float64")
        made = Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.values = values
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["values"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> "OnDevice":
        return OnDevice(inner["values"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = OnDevice(self.values.clone()).requires_grad_(self.requires_grad)
        return torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Device(TorchDispatchMode):
    """Makes and moves tensors to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    wanted = kwargs.get("device")
    there = torch.device(wanted) == DEVICE if wanted is not None else any(isinstance(t, OnDevice) for t in given)
    if not func.name().startswith(
        ("aten::_to_copy", "aten::copy_", "aten::_local_scalar", "aten::index", "aten::_index")
    ):
        mixed = [t for t in given if t.ndim and not isinstance(t, OnDevice)]
        if mixed and any(isinstance(t, OnDevice) for t in given):
            raise RuntimeError(f"{func}: tensors on two devices")
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = pytree.tree_map_only(OnDevice, lambda t: t.values, (args, kwargs))
    out = func(*args, **kwargs)
    if not there:
        return out
    old = {id(t.values): t for t in given if isinstance(t, OnDevice)}
    return pytree.tree_map_only(Tensor, lambda t: old.get(id(t)) if id(t) in old else OnDevice(t), out)


@contextmanager
def device_without_float64(monkeypatch: Any) -> Iterator[torch.device]:
    """Give a device on which float64 fails, and let howfar know it as one."""
    monkeypatch.setattr("howfar.arrays.SINGLE_PRECISION", frozenset({DEVICE.type}))
    with _Device():
        yield DEVICE
