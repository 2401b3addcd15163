"""The trajectory of a network's weights during training."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.models import fit_images
from howfar.tasks import Criterion, Task, given
from howfar.training import Around, Batch, Recipe, steps, unchanged

VERSION = 1


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Weights and buffers at several checkpoints, kept as differences from the initial ones.

    Attributes:
        start: every floating-point entry of the initial state, by name.
        moved: differences from the start by name, (checkpoints, *shape of the entry); float32 or float16.
        parameters: names of the weights; the other entries are buffers such as batch statistics.
        steps: number of batches before each checkpoint, from 0.
        losses: mean training loss since the previous checkpoint, nats; NaN at the start.
    """

    start: dict[str, Tensor]
    moved: dict[str, Tensor]
    parameters: tuple[str, ...]
    steps: tuple[int, ...]
    losses: tuple[float, ...]

    def __repr__(self) -> str:
        """Return the number of checkpoints and parameters; weights and losses are left out."""
        count = sum(self.start[name].numel() for name in self.parameters)
        return f"Trajectory({len(self.steps)} checkpoints after 0 to {self.steps[-1]} batches, {count} parameters)"

    def __len__(self) -> int:
        """Return the number of checkpoints."""
        return len(self.steps)

    def state(self, checkpoint: int) -> dict[str, Tensor]:
        """Return weights and buffers at one checkpoint, for ``load_state_dict(..., strict=False)``."""
        return {name: start + self.moved[name][checkpoint].to(start.dtype) for name, start in self.start.items()}

    def weights(self, *names: str) -> Tensor:
        """Return the trajectory of the named weights, all if none is named: float32, (checkpoints, parameters)."""
        if unknown := set(names) - set(self.parameters):
            raise UsageError(f"no weight '{sorted(unknown)[0]}'. There are: {', '.join(self.parameters)}.")
        chosen = names or self.parameters
        return torch.cat([(self.moved[name].float() + self.start[name].float()).flatten(1) for name in chosen], 1)

    def arrays(self) -> dict[str, Tensor]:
        """Return the content as tensors to save."""
        about = {"steps": torch.tensor(self.steps), "losses": torch.tensor(self.losses, dtype=torch.float64)}
        # Files do not keep the order of their entries, so every name contains its position.
        kinds = {
            f"{'weight' if name in self.parameters else 'buffer'}:{place:05}:{name}": name
            for place, name in enumerate(self.start)
        }
        return {
            **about,
            **{f"start:{kind}": self.start[name] for kind, name in kinds.items()},
            **{f"moved:{kind}": self.moved[name] for kind, name in kinds.items()},
        }

    @staticmethod
    def of(arrays: Mapping[str, Tensor]) -> "Trajectory":
        """Return the trajectory from the tensors that ``arrays`` returned."""
        kept = [key.removeprefix("start:") for key in arrays if key.startswith("start:")]
        names = {kind: kind.split(":", 2)[2] for kind in sorted(kept, key=lambda kind: kind.split(":")[1])}
        return Trajectory(
            start={name: arrays[f"start:{kind}"] for kind, name in names.items()},
            moved={name: arrays[f"moved:{kind}"] for kind, name in names.items()},
            parameters=tuple(name for kind, name in names.items() if kind.startswith("weight")),
            steps=tuple(arrays["steps"].tolist()),
            losses=tuple(arrays["losses"].tolist()),
        )


def trajectory(
    model: nn.Module, data: Data, task: Task | Criterion | None = None, recipe: Recipe | None = None, *,
    every: int = 0, around: Around = unchanged, seed: int = 0, half: bool = False,
) -> Trajectory:  # fmt: skip
    """Train a network and return its trajectory.

    Two runs with equal initial weights and ``seed`` have the same batches of ids in the same order and the same
    augmentation, so they differ only in the data.

    Args:
        model: trained in place; its weights are the start.
        data: clean or protected training data.
        task: what to learn; or a loss (``Task.from_loss``). None classifies.
        recipe: optimizer, schedule, augmentation. None takes ``Recipe()``: 15 epochs of SGD on images
            that are shifted by up to 4 pixels and mirrored.
        every: batches between checkpoints; 0 takes the ends of epochs.
        around: the defense's wrapper around the loss.
        seed: of batch order and augmentation.
        half: keep differences in half precision, with a relative error below 0.1 %.

    Raises:
        HowfarError: if the loss is not finite.

    Example:
        >>> from howfar import DATASETS, MODELS, Recipe, build, trajectory
        >>> data = DATASETS["digits"]().train
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> len(trajectory(model, data, recipe=Recipe(epochs=3, crop=0, flip=False)))  # the start and three epochs
        4
    """
    work = following(model, data, task, recipe, every=every, around=around, seed=seed, half=half)
    found: Trajectory = arrays.finished(work)
    return found


def following(
    model: nn.Module, data: Data, task: Task | Criterion | None = None, recipe: Recipe | None = None, *,
    every: int = 0, around: Around = unchanged, seed: int = 0, half: bool = False,
) -> Generator[Batch, None, Trajectory]:  # fmt: skip
    """Do the same as ``trajectory`` and yield after every batch, so that the caller can measure."""
    data, task = given(model, data, task)
    recipe = recipe or Recipe()
    fit_images(model, data)  # layers fitted to the images are part of the initial state
    start = _state(model)
    weights = tuple(name for name, _ in model.named_parameters())
    moved: dict[str, list[Tensor]] = {name: [] for name in start}
    checkpoints, losses, total, count = [0], [math.nan], torch.zeros(()), 0
    _add(moved, start, start, half=half)
    for step in steps(model, data, task, recipe, around=around, seed=seed):
        total, count = total.to(step.loss) + step.loss, count + step.images
        if is_checkpoint(step, every):
            if not math.isfinite(value := float(total)):
                raise HowfarError(f"training diverged: the loss is {value}. Lower the learning rate ({recipe.lr}).")
            _add(moved, start, _state(model), half=half)
            checkpoints.append(step.number)
            losses.append(value / count)
            total, count = torch.zeros(()), 0
        yield step
    path = {name: torch.stack(parts) for name, parts in moved.items()}
    return Trajectory(start, path, weights, tuple(checkpoints), tuple(losses))


def is_checkpoint(step: Batch, every: int) -> bool:
    """Return whether there is a checkpoint after a batch: after every ``every`` batches, or for 0 after each epoch."""
    return step.number % every == 0 if every else step.last


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }


def _add(moved: dict[str, list[Tensor]], start: dict[str, Tensor], now: dict[str, Tensor], *, half: bool) -> None:
    for name, parts in moved.items():
        parts.append((now[name] - start[name]).to(torch.float16 if half else torch.float32))
