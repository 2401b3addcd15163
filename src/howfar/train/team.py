"""Several processes that train one model together: each takes its part of every batch, and gradients are summed.

``accelerate launch`` (or ``torchrun``) starts them; Accelerate connects them. All of them hold the same weights, and
the same batches as one process alone.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from howfar.errors import UsageError


@dataclass(frozen=True)
class Team:
    """The processes that work on one model.

    Attributes:
        size: how many they are.
        rank: which of them this is; 0 leads.
        device: where this one's tensors live.
    """

    size: int
    rank: int
    device: torch.device

    def share(self, count: int) -> slice:
        """Return which of so many images of a batch are this one's.

        Raises:
            UsageError: if there are not enough for all.
        """
        if count < self.size:
            raise UsageError(f"a batch of {count} images has no image for each of {self.size} processes. Start fewer.")
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add(self, parts: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange."""
        from accelerate.utils import reduce

        parts = list(parts)
        flat = reduce(torch.cat([part.detach().flatten().float() for part in parts]), reduction="sum")
        for part, total in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def level(self, model: nn.Module) -> None:
        """Replace the running statistics of batch normalisations by their means over all processes."""
        running = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if running:
            self.add(running)
            for buffer in running:
                buffer.div_(self.size)

    def tell(self, number: int) -> int:
        """Return the leader's number to everybody."""
        from accelerate.utils import broadcast

        return int(broadcast(torch.tensor([number], device=self.device))[0])


@cache
def team(device_type: str) -> Team | None:
    """Return the processes this one was started with, connected; None if it works alone.

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
    return Team(state.num_processes, state.process_index, state.device)
