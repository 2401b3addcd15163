"""Carriers and stripes for images that nobody labelled: a network that learned to see rooms says what a pixel is."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.protect.carriers import TargetCarriers
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress
from howfar.protect.stripes import Stripes
from howfar.protect.surrogate import new_surrogate, trained
from howfar.tasks import Task
from howfar.tasks.segmentation import segment_semantic
from howfar.train import Recipe

VERSION = 1
SEED = 2**31 - 1  # of the teacher's rooms, which nobody is judged on
SIDES = 16, 64  # of its rooms, at least and at most


@dataclass(frozen=True)
class Taught:
    """What a teacher sees, in place of labels.

    Attributes:
        rooms: how many the teacher learns from.
        epochs: how long.
        teacher: an entry of the models' table.
    """

    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "a minute for the teacher, then seconds"

    rooms: Annotated[int, Field(ge=32)] = 1500
    epochs: Annotated[int, Field(ge=1)] = 12
    teacher: str = "resnet8[width=16]"

    def told(self, data: Data, device: torch.device, draft: Draft) -> Generator[Progress, None, tuple[Data, Task]]:
        """Train the teacher, unless another crafting has; return the images with its answers, and what they are."""
        low, high = SIDES
        images = rooms(min(max(*data.shape[1:], low), high), self.rooms, test=1, seed=SEED).train
        subject = segment_semantic()(images)
        model = new_surrogate(self.teacher, images, subject.outputs, generator=arrays.seeded(SEED), device=device)
        recipe = Recipe(self.epochs, batch_size=32, lr=0.05, crop=0, flip=True)
        yield from trained(model, images, subject, recipe, seed=SEED, draft=draft)
        return Data(data.pixels, {subject.target: _answers(model, subject, data, device)}, data.ids), subject


@dataclass(frozen=True)
class TaughtCarriers(Taught, TargetCarriers):
    """Carriers of what a teacher sees (howfar, 2026).

    A network learns to segment rooms, which howfar draws itself, with labels; then it tells what it takes every pixel
    of the images for, and the pixel carries the pattern of that, as in ``carriers``. It need not be right: what counts
    is that it says alike things of alike places. No label of the images is used, whatever the source task.

    Attributes:
        rooms: how many the teacher learns from.
        epochs: how long.
        teacher: an entry of the models' table.
    """

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Ask the teacher; let every pixel carry its answer."""
        told, subject = yield from self.told(data, device, draft)
        protected = yield from super().craft(told, subject, generator=generator, device=device, draft=draft)
        return data.with_pixels(protected.pixels)


@dataclass(frozen=True)
class TaughtStripes(Taught, Stripes):
    """Stripes of what a teacher sees (howfar, 2026).

    As ``taught-carriers``, with the patterns of ``stripes``.

    Attributes:
        rooms: how many the teacher learns from.
        epochs: how long.
        teacher: an entry of the models' table.
    """

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Ask the teacher; let every pixel carry its answer."""
        told, subject = yield from self.told(data, device, draft)
        protected = yield from super().craft(told, subject, generator=generator, device=device, draft=draft)
        return data.with_pixels(protected.pixels)


@torch.no_grad()
def _answers(model: nn.Module, subject: Task, data: Data, device: torch.device) -> Tensor:
    """Return the classes that the teacher takes the pixels for, (n, height, width)."""
    model.eval()
    found = []
    for part in arrays.chunks(len(data), 128):
        images = arrays.to_images(data.pixels[part], device)
        found.append(subject.answer(model(images.expand(-1, 3, -1, -1))).cpu())
    return torch.cat(found)
