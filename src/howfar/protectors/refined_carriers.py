"""Carriers refined by error-minimizing rounds."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from howfar.data import Data
from howfar.protectors.carriers import TargetCarriers
from howfar.protectors.draft import Draft
from howfar.protectors.em import PUBLISHED_STEPS, ErrorMinimizing
from howfar.protectors.protector import Crafting, add_noise
from howfar.protectors.surrogate import new_surrogate
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class RefinedCarriers(TargetCarriers):
    """Carriers of targets, refined by error-minimizing rounds (howfar, 2026).

    The noise is initialized with ``carriers`` and refined by ``em`` against a surrogate of the source task, or of
    several tasks.

    Attributes:
        rounds: maximum number of rounds.
        step_size: of a signed step; 0 takes eps/10.
        surrogate: an entry of ``MODELS``.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("refined-carriers[eps=4/255]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    cost: ClassVar[str] = "rounds × 20 passes with gradients over the set"

    rounds: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[float, Field(ge=0, le=1)] = 0.0
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Every round passes over the set once per signed step."""
        return self.rounds * PUBLISHED_STEPS["sample"]

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Add the patterns, then refine them."""
        start = yield from super().craft(data, task, generator=generator, device=device, draft=draft)
        noise = (start.pixels.float() - data.pixels.float()) / 255
        method = ErrorMinimizing(
            eps=self.eps, rounds=self.rounds, step_size=self.step_size, stop_error=0.0, surrogate=self.surrogate
        )
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        yield from method.rounds_on(noise, data, torch.arange(len(data)), model, task, generator, draft)
        return (yield from add_noise(data, lambda part: noise[part], eps=self.eps))
