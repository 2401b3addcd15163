"""Data-parallel training: each process takes its share of every batch, and gradients are summed.

Processes are started by ``accelerate launch`` (or ``torchrun``) and connected by Accelerate. All of them hold the same
weights and draw the same batches as a single process.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from howfar.errors import UsageError


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model.

    Attributes:
        size: number of processes.
        rank: of this process; 0 is the leader.
        device: of this process.
    """

    size: int
    rank: int
    device: torch.device

    def share(self, count: int) -> slice:
        """Return this process's share of a batch of ``count`` images.

        Raises:
            UsageError: if there are fewer images than processes.
        """
        if count < self.size:
            raise UsageError(
                f"a batch of {count} images is smaller than the number of processes ({self.size}). Start fewer."
            )
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add(self, parts: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one all-reduce."""
        from accelerate.utils import reduce

        parts = list(parts)
        flat = reduce(torch.cat([part.detach().flatten().float() for part in parts]), reduction="sum")
        for part, total in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def average_buffers(self, model: nn.Module) -> None:
        """Replace floating-point buffers, such as batch statistics, by their means over all processes."""
        running = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if running:
            self.add(running)
            for buffer in running:
                buffer.div_(self.size)

    def broadcast(self, number: int) -> int:
        """Return the leader's number in all processes."""
        from accelerate.utils import broadcast

        return int(broadcast(torch.tensor([number], device=self.device))[0])


@cache
def process_group(device_type: str) -> ProcessGroup | None:
    """Return the connected process group; None for a single process.

    Raises:
        UsageError: if Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    try:
        from accelerate import PartialState
    except ImportError:
        raise UsageError("several processes for one model need Accelerate. Install howfar[accelerate].") from None
    state = PartialState(cpu=device_type == "cpu")
    if state.device.type == "cuda":
        torch.cuda.set_device(state.device)
    return ProcessGroup(state.num_processes, state.process_index, state.device)
