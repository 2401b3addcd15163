"""What a long crafting has reached, kept on disk so that a killed run goes on from its last round."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from howfar.unfinished import whole

Part = Tensor | nn.Module | Optimizer | Generator

EVERY = 30.0  # seconds between two writings, at least


class Draft:
    """Keeps the state of a crafting, stage by stage; without a path it keeps nothing.

    A stage names everything that it changes. Entering it puts back what the file holds and says how many rounds are
    done; ``keep`` writes after a round. All of it is exact, so the bytes that come out are those of a run in one go.

    Args:
        path: a file of the caller's; written whole or not at all.
        every: seconds between two writings, at least.
        shelf: folder for what several craftings have in common; None shares nothing.

    Attributes:
        curve: the readings of all rounds so far, those before a kill included, such as a surrogate's error.
        notes: further numbers about the result that are to be recorded, by name.
    """

    def __init__(self, path: Path | None = None, *, every: float = EVERY, shelf: Path | None = None) -> None:
        self.path, self.every, self.shelf = path, every, shelf
        self._stage, self._parts, self._written = "", dict[str, Part](), 0.0
        self.curve: list[float] = []
        self.notes: dict[str, float] = {}

    def reached(self, stage: str) -> bool:
        """Return whether the file stands in this stage, so that what comes before need not be done again."""
        return self._read().get("stage") == stage

    def enter(self, stage: str, **parts: Part) -> int:
        """Begin a stage, or go on with it; returns the number of rounds that are done.

        Args:
            stage: its name, one of its own in each crafting.
            parts: everything that its rounds change, restored in place.
        """
        self._stage, self._parts = stage, parts
        found = self._read()
        if found.get("stage") != stage or "curve" not in found:
            self._write(0)
            return 0
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            curve, notes, rounds = (
                json.loads(found["curve"]),
                json.loads(found.get("notes", "{}")),
                int(found["rounds"]),
            )
            if not isinstance(curve, list) or not isinstance(notes, dict) or rounds < 0:
                raise ValueError("the notes of the rounds are damaged")
            tensors = load_file(self.path or Path())
            kept = {
                name: {key[len(name) + 1 :]: t for key, t in tensors.items() if key.startswith(f"{name}/")}
                for name in parts
            }
            if not all(_fits(part, kept[name]) for name, part in parts.items()):
                raise ValueError("it is the draft of another crafting")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError):
            self._write(0)  # spoilt: begin anew
            return 0
        for name, part in parts.items():
            _restore(part, kept[name])
        self.curve[:] = curve
        self.notes |= notes
        return rounds

    def keep(self, rounds: int, reading: float | None = None) -> None:
        """Write the state after so many rounds, unless it was written a moment ago; the last one gave a reading."""
        if reading is not None:
            self.curve.append(reading)
        if time.monotonic() - self._written >= self.every:
            self._write(rounds)

    def fetch(self, name: str, part: nn.Module) -> bool:
        """Return whether another crafting has made this already; if so, it is put in place, bit by bit."""
        if self.shelf is None or not (self.shelf / f".{name}.draft").is_file():
            return False
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            part.load_state_dict(load_file(self.shelf / f".{name}.draft"))
        except (SafetensorError, RuntimeError, OSError):  # spoilt or gone: make it anew
            return False
        return True

    def share(self, name: str, part: nn.Module) -> None:
        """Leave what was made for other craftings, whole or not at all."""
        if self.shelf is not None:
            _save(self.shelf / f".{name}.draft", _state(part), {})

    def discard(self) -> None:
        """Remove the file: the work is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        if self.path is None or not self.path.is_file():
            return {}
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "pt") as file:
                notes: dict[str, str] = file.metadata() or {}
        except SafetensorError:  # spoilt: as if there were none
            return {}
        return notes

    def _write(self, rounds: int) -> None:
        if self.path is None:
            return
        tensors = {f"{name}/{key}": t for name, part in self._parts.items() for key, t in _state(part).items()}
        about = {"stage": self._stage, "rounds": str(rounds)}
        about |= {"curve": json.dumps(self.curve), "notes": json.dumps(self.notes)}
        _save(self.path, tensors, about)
        self._written = time.monotonic()


def _save(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write a file whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as draft:
        save_file(tensors, draft, about)


def _state(part: Part) -> dict[str, Tensor]:
    """Return copies of all tensors of a part."""
    if isinstance(part, Tensor):
        found: dict[str, Any] = {"": part}
    elif isinstance(part, Generator):
        found = {"": part.get_state()}
    elif isinstance(part, nn.Module):
        found = part.state_dict()
    else:
        states = part.state_dict()["state"]
        found = {f"{index}.{name}": value for index, state in states.items() for name, value in state.items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in found.items() if value is not None}


def _fits(part: Part, kept: dict[str, Tensor]) -> bool:
    """Return whether a part can be put back; nothing of it has changed yet where it cannot."""
    if isinstance(part, Generator):
        torch.Generator(device=part.device).set_state(kept[""])  # RuntimeError for what is no state
        return len(kept) == 1
    if isinstance(part, Optimizer):
        weights = [weight for group in part.param_groups for weight in group["params"]]
        places = [(int(name.partition(".")[0]), value.shape) for name, value in kept.items()]
        return all(0 <= place < len(weights) and shape in ((), weights[place].shape) for place, shape in places)
    now = {"": part} if isinstance(part, Tensor) else part.state_dict()
    return {name: (value.shape, value.dtype) for name, value in now.items()} == {
        name: (value.shape, value.dtype) for name, value in kept.items()
    }


def _restore(part: Part, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, Tensor):
        with torch.no_grad():
            part.copy_(tensors[""])
    elif isinstance(part, Generator):
        part.set_state(tensors[""])
    elif isinstance(part, nn.Module):
        part.load_state_dict(tensors)
    else:
        content = part.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = value
        part.load_state_dict({**content, "state": states})
