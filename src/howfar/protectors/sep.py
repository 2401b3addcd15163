"""Self-ensemble protection."""

import copy
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.models.features import features
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, labels_of
from howfar.protectors.surrogate import centroids, craft_batches, freeze, new_surrogate
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe, pgd, train

VERSION = 1


@dataclass(frozen=True)
class SelfEnsemble(Protector):
    """Self-ensemble protection, SEP (Chen et al., ICLR 2023, arXiv:2211.12005).

    One surrogate is trained on clean images and saved at several equally spaced checkpoints. Noise descends the mean
    over checkpoints of the loss toward another class, y + K/2 mod K (``plain``), or of the squared distance of an
    image's features to the mean features of that class (``features``, the paper's feature alignment).

    Differs from the released code: checkpoints stay in memory; rounds instead of truncating; no variance reduction with
    ``features`` (its inner loop used the features of the last checkpoint instead of the drawn one).

    Attributes:
        mode: ``plain`` or ``features``.
        eps: L∞ radius, images in [0, 1] (published: 2/255 and 8/255).
        steps: signed steps (published: 30).
        step_size: of a signed step; 0 takes eps/2 at 2/255 and less at larger radii (15·eps/steps, published 1/255).
        checkpoints: number of checkpoints (published: 30).
        epochs: of the surrogate (published: 120).
        surrogate: an entry of ``MODELS`` (published: resnet18).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("sep[eps=4/255,steps=5]", X, y)
        >>> int((protected.int() - X).abs().max())  # 1/255
        4
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "epochs + checkpoints × steps passes with gradients over the set"
    published: ClassVar[Settings] = {
        "eps": "2/255", "steps": 30, "checkpoints": 30, "epochs": 120, "surrogate": "resnet18",
    }  # fmt: skip

    mode: Literal["plain", "features"] = "plain"
    eps: Eps = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 15
    step_size: Annotated[Number, Field(ge=0, le=1)] = 0.0
    checkpoints: Annotated[int, Field(ge=1)] = 5
    epochs: Annotated[int, Field(ge=1)] = 15
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Every step passes through every checkpoint."""
        return self.epochs + self.checkpoints * self.steps

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate, keep its checkpoints, attack all of them jointly."""
        labels = labels_of(data, task)
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        moments = nn.ModuleList([copy.deepcopy(model) for _ in range(min(self.checkpoints, self.epochs))])
        seed = arrays.draw_seed(generator)
        if not draft.reached("craft"):
            yield from self._keep(model, moments, data, task, seed)
        freeze(moments)
        shifted = task.outputs // 2
        aligned = self.mode == "features"
        means: list[Tensor] = []

        def craft(images: Images, target: Targets, part: slice) -> Images:
            aim = (target + shifted) % task.outputs
            if aligned and not means:
                means.extend(centroids(one, data, labels, task.outputs, device).nan_to_num() for one in moments)

            def loss(x: Images) -> PerExample:
                if aligned:
                    gaps = [features(one, x) - mean[aim] for one, mean in zip(moments, means, strict=True)]
                    return torch.stack([gap.square().mean(1) for gap in gaps]).mean(0)
                return torch.stack([task.loss(one(x), aim) for one in moments]).mean(0)

            return pgd.descend(
                images, torch.zeros_like(images), loss, eps=self.eps, steps=self.steps,
                step_size=self.step_size or min(15 * self.eps / self.steps, self.eps / 2),
            )  # fmt: skip

        return (
            yield from craft_batches(
                data, task, craft, eps=self.eps, generator=generator, device=device, draft=draft, models=moments
            )
        )

    def _keep(
        self, model: nn.Module, moments: nn.ModuleList, data: Data, task: Task, seed: int
    ) -> Generator[Progress, None, None]:
        """Train, and copy the weights at equally spaced epochs, including the last one."""
        count = len(moments)
        wanted = {round((index + 1) * self.epochs / count): index for index in range(count)}
        for epoch in train(model, data, task, Recipe(epochs=self.epochs), seed=seed):
            if epoch.number in wanted:
                moments[wanted[epoch.number]].load_state_dict(model.state_dict())
            yield Progress(epoch.number, self.epochs, f"surrogate, loss {epoch.loss:.3f}")
