"""What all places have in common where steps are done."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from howfar.engine.event import Event
from howfar.grid.experiment import Step

DIED = "the worker died"  # how the note of a failed step begins that may be tried again


class Pool(ABC):
    """Does steps somewhere."""

    @property
    @abstractmethod
    def room(self) -> bool:
        """Whether it takes another step."""

    @abstractmethod
    def submit(self, step: Step) -> None:
        """Take a step."""

    @abstractmethod
    def events(self, seconds: float) -> Iterator[Event]:
        """Wait for so long at most, and yield what happened; with nothing to do it waits the whole time."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything."""
