"""Strict reading of pretrained weights from safetensors files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from howfar.errors import HowfarError, UsageError, escaped

SUFFIX = ".safetensors"
NETWORK = "howfar.network"  # metadata of the files that ``pretrain`` writes: spec of the network
CHANNELS = "howfar.channels"  # of its images
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
COUNTER = "num_batches_tracked"  # of batch normalization, unused by inference
HEADS = ("fc.", "head.", "classifier.")  # of the pretraining classes, not used
SHOWN = 3  # names in a message
CONVERT = (
    'If you trust where it comes from, convert it: python -c "import torch; from safetensors.torch import save_file; '
    "save_file(torch.load('FILE', weights_only=True), 'FILE.safetensors')\"."
)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by name, in float32 and without those of a head, and its metadata.

    Nothing in the file is executed.

    Raises:
        UsageError: if there is no such file.
        HowfarError: if it is no safetensors file, or holds integers, NaN or infinite numbers.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give weights as a {SUFFIX} file.")
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            found = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118  # not a mapping
                if not name.startswith(HEADS) and name.rpartition(".")[2] != COUNTER
            }
    except (SafetensorError, OSError) as error:
        if _is_pickle(path):
            raise HowfarError(f"{path} is a pickle, which can run code when loaded, so it is not. {CONVERT}") from None
        raise HowfarError(f"{path} cannot be read as safetensors ({error}). Copy or convert it again.") from None
    for name, tensor in found.items():
        _require_numbers(path, name, tensor)
    return {name: tensor.float() if tensor.dtype in FLOATS else tensor for name, tensor in found.items()}, metadata


def require_same(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Any], network: str) -> None:
    """Raise ``HowfarError`` unless a file holds exactly the tensors of a network, with their shapes.

    Args:
        path: of the file.
        found: what it holds.
        wanted: what the network has; anything with a shape.
        network: its name, for the message.
    """
    names = {name for name in wanted if name.rpartition(".")[2] != COUNTER}
    differing = [
        f"{name} of shape {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in names & set(found)
        if found[name].shape != wanted[name].shape
    ]
    problems = [("lacks", names - set(found)), ("has unknown", set(found) - names), ("has", differing)]
    said = "; it ".join(f"{verb} {_some(what)}" for verb, what in problems if what)
    if said:
        raise HowfarError(
            f"{path} does not fit {network}: it {said}. Export the state_dict of the whole network, in the naming of "
            "timm or torchvision and without prefixes."
        )


def _some(names: Iterable[str]) -> str:
    """Return the first names and the number of others."""
    found = sorted(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(escaped(name) for name in found[:SHOWN]) + more


def _is_pickle(path: Path) -> bool:
    """Return whether a file that is not safetensors begins as a pickle or as an archive of torch.save."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:1] == b"\x80" or start == b"PK\x03\x04"


def _require_numbers(path: Path, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in (*FLOATS, torch.bool):
        raise HowfarError(
            f"{path}: {escaped(name)} has type {tensor.dtype}. Save weights as float32, float16 or bfloat16; "
            "quantized ones are not supported."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise HowfarError(f"{path}: {escaped(name)} holds NaN or infinite numbers. Train or export it again.")
