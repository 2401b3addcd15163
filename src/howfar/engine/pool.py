"""The interface of execution back ends."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from howfar.engine.event import Event
from howfar.grid.experiment import Step

DIED = "the worker died"  # start of the note of a failed step that may be retried


class Pool(ABC):
    """An execution back end."""

    @property
    @abstractmethod
    def room(self) -> bool:
        """Whether it accepts another step."""

    @abstractmethod
    def submit(self, step: Step) -> None:
        """Submit a step."""

    @abstractmethod
    def events(self, seconds: float) -> Iterator[Event]:
        """Wait for at most ``seconds``, and yield events; without steps, wait the whole time."""

    @abstractmethod
    def close(self) -> None:
        """Stop all steps."""
