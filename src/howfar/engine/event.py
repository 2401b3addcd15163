"""What a run tells while it goes on."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["cached", "running", "done", "failed", "elsewhere"]
LONGEST = 300  # characters of a note on its way from a worker: a message must fit into one write of a pipe


@dataclass(frozen=True)
class Event:
    """Something happened to a step.

    Attributes:
        status: ``cached`` (it was in the store), ``running``, ``done``, ``failed``, or ``elsewhere`` (another run of
            the same store is at work on it).
        step: its label.
        key: its key in the store.
        share: how much of it is done, 0 to 1.
        note: what a person would like to read; of a failed step the error.
        seconds: wall time of a step that is done.
    """

    status: Status
    step: str
    key: str
    share: float = 0.0
    note: str = ""
    seconds: float = 0.0

    def brief(self) -> dict[str, Any]:
        """Return the event as JSON that is never long."""
        return {**asdict(self), "step": self.step[:LONGEST], "note": self.note[:LONGEST]}
