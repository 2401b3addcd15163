"""Carriers and stripes for unlabeled images, from the pseudo-labels of a teacher trained on rendered rooms."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.protectors.carriers import TargetCarriers
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector
from howfar.protectors.stripes import Stripes
from howfar.protectors.surrogate import new_surrogate, trained
from howfar.tasks import Task
from howfar.tasks.segmentation import segment_semantic
from howfar.training import Recipe

VERSION = 1
SEED = 2**31 - 1  # of the teacher's rooms, which no experiment uses
SIDES = 16, 64  # smallest and largest side of its rooms


@dataclass(frozen=True)
class PseudoLabels:
    """Settings of the teacher that predicts pseudo-labels.

    Attributes:
        rooms: number of rendered rooms that the teacher is trained on.
        epochs: of the teacher.
        teacher: an entry of ``MODELS``.
    """

    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "a minute for the teacher, then seconds"

    rooms: Annotated[int, Field(ge=32)] = 1500
    epochs: Annotated[int, Field(ge=1)] = 12
    teacher: str = "resnet8[width=16]"

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Predict pseudo-labels, then craft against them."""
        labeled, subject = yield from self.labeled(data, device, draft)
        following = cast(Protector, super())  # the other base class
        protected = yield from following.craft(labeled, subject, generator=generator, device=device, draft=draft)
        return data.with_pixels(protected.pixels)

    def labeled(self, data: Data, device: torch.device, draft: Draft) -> Generator[Progress, None, tuple[Data, Task]]:
        """Train the teacher unless it is shared; return the images with its pseudo-labels, and their task."""
        low, high = SIDES
        images = rooms(min(max(*data.shape[1:], low), high), self.rooms, test=1, seed=SEED).train
        subject = segment_semantic()(images)
        model = new_surrogate(self.teacher, images, subject.outputs, generator=arrays.seeded(SEED), device=device)
        recipe = Recipe(self.epochs, batch_size=32, lr=0.05, crop=0, flip=True)
        yield from trained(model, images, subject, recipe, seed=SEED, draft=draft)
        return Data(data.pixels, {subject.target: _predictions(model, subject, data, device)}, data.ids), subject


@dataclass(frozen=True)
class PseudoLabelCarriers(PseudoLabels, TargetCarriers):
    """Carriers of pseudo-labels (howfar, 2026).

    A teacher is trained to segment rendered rooms, which come with labels. It then predicts a class for every pixel of
    the images, and the pixel gets the pattern of this class, as in ``carriers``. Predictions need not be correct, only
    consistent: similar regions should get the same class. No labels of the images are used, whatever the source task.

    Attributes:
        rooms: number of rendered rooms that the teacher is trained on.
        epochs: of the teacher.
        teacher: an entry of ``MODELS``.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("taught-carriers[eps=4/255,rooms=32,epochs=1]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """


@dataclass(frozen=True)
class PseudoLabelStripes(PseudoLabels, Stripes):
    """Stripes of pseudo-labels (howfar, 2026).

    As ``taught-carriers``, with the patterns of ``stripes``.

    Attributes:
        rooms: number of rendered rooms that the teacher is trained on.
        epochs: of the teacher.
        teacher: an entry of ``MODELS``.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("taught-stripes[eps=4/255,rooms=32,epochs=1]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """


@torch.no_grad()
def _predictions(model: nn.Module, subject: Task, data: Data, device: torch.device) -> Tensor:
    """Return the teacher's class of every pixel, (n, height, width)."""
    model.eval()
    found = []
    for part in arrays.chunks(len(data), 128):
        images = arrays.to_images(data.pixels[part], device)
        found.append(subject.predict(model(images.expand(-1, 3, -1, -1))).cpu())
    return torch.cat(found)
