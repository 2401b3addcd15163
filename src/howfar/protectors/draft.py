"""Checkpoints of protectors, so that an interrupted run resumes from its last round."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from howfar.unfinished import atomic_write

Part = Tensor | nn.Module | Optimizer | Generator

EVERY = 30.0  # minimum seconds between two checkpoints


class Draft:
    """Checkpoint file of a protector, written stage by stage; without a path nothing is kept.

    A stage names everything that it modifies. ``enter`` restores the state in the file and returns the number of
    finished rounds; ``keep`` writes the state after a round. The state is exact, so a resumed run gives the same bytes
    as an uninterrupted one.

    Args:
        path: the checkpoint file; written atomically.
        every: minimum seconds between two checkpoints.
        surrogates: folder for trained surrogates that several protectors share; None shares nothing.

    Attributes:
        curve: one value per finished round, including rounds before an interruption, such as the surrogate's error.
        notes: further numbers to record with the result, by name.
    """

    def __init__(self, path: Path | None = None, *, every: float = EVERY, surrogates: Path | None = None) -> None:
        self.path, self.every, self.surrogates = path, every, surrogates
        self._stage, self._parts, self._written = "", dict[str, Part](), 0.0
        self.curve: list[float] = []
        self.notes: dict[str, float] = {}

    def reached(self, stage: str) -> bool:
        """Return whether the checkpoint is in this stage, so that earlier stages can be skipped."""
        return self._read().get("stage") == stage

    def enter(self, stage: str, **parts: Part) -> int:
        """Start or resume a stage; returns the number of finished rounds.

        Args:
            stage: name of the stage, unique within the protector.
            parts: everything that its rounds modify; restored in place.
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
                raise ValueError("the metadata are damaged")
            tensors = load_file(self.path or Path())
            kept = {
                name: {key[len(name) + 1 :]: t for key, t in tensors.items() if key.startswith(f"{name}/")}
                for name in parts
            }
            if not all(_fits(part, kept[name]) for name, part in parts.items()):
                raise ValueError("it is the checkpoint of another protector")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError):
            self._write(0)  # damaged: start again
            return 0
        for name, part in parts.items():
            _restore(part, kept[name])
        self.curve[:] = curve
        self.notes |= notes
        return rounds

    def keep(self, rounds: int, reading: float | None = None) -> None:
        """Write the state after this many rounds, unless it was written recently; ``reading`` goes to ``curve``."""
        if reading is not None:
            self.curve.append(reading)
        if time.monotonic() - self._written >= self.every:
            self._write(rounds)

    def fetch(self, name: str, part: nn.Module) -> bool:
        """Load a shared surrogate into ``part``; returns whether there is one."""
        if self.surrogates is None or not (self.surrogates / f".{name}.draft").is_file():
            return False
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            part.load_state_dict(load_file(self.surrogates / f".{name}.draft"))
        except (SafetensorError, RuntimeError, OSError):  # damaged or removed: train it again
            return False
        return True

    def share(self, name: str, part: nn.Module) -> None:
        """Save a trained surrogate for other protectors, atomically."""
        if self.surrogates is not None:
            _save(self.surrogates / f".{name}.draft", _state(part), {})

    def discard(self) -> None:
        """Remove the file once the protector has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        if self.path is None or not self.path.is_file():
            return {}
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "pt") as file:
                notes: dict[str, str] = file.metadata() or {}
        except SafetensorError:  # damaged: as if there were none
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
    """Write a file atomically."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
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
    """Return whether a part can be restored, without modifying it."""
    if isinstance(part, Generator):
        torch.Generator(device=part.device).set_state(kept[""])  # RuntimeError for an invalid state
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
