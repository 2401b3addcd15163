"""Unlearnable clusters."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.models.features import features
from howfar.protectors.contrastive import PROJECTED, simclr
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, add_noise
from howfar.protectors.surrogate import freeze, load, new_surrogate, shuffled, trained
from howfar.spec import Eps, Number
from howfar.tasks import Task
from howfar.training import Recipe

VERSION = 1


@dataclass(frozen=True)
class UnlearnableClusters(Protector):
    """Unlearnable clusters, UC (Zhang et al., CVPR 2023, arXiv:2301.01217).

    Needs no labels. Images are clustered by the features of a network trained without labels. Every cluster k has one
    noise that moves its images to cluster k + 1: it minimizes KL(softmax of that cluster's center ‖ softmax of
    features).

    Differs from the released code: the features are learned from the images with a contrastive loss, instead of a
    network pre-trained on ImageNet or by CLIP; noise is a parameter, eps·tanh(θ), instead of the output of one
    generator per cluster.

    Attributes:
        eps: L∞ radius, images in [0, 1] (published: 16/255).
        clusters: number of clusters (published: 10).
        steps: Adam steps (published: 50 epochs of a generator).
        lr: learning rate of Adam on θ.
        epochs: of the contrastive surrogate.
        temperature: of both softmaxes.
        surrogate: an entry of ``MODELS`` (published: a pre-trained resnet50).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("uc[eps=4/255]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "2 × epochs passes with gradients over the set + steps batches"
    published: ClassVar[Settings] = {"eps": "16/255", "epochs": 200, "steps": 2000, "surrogate": "resnet18"}

    eps: Eps = 16 / 255
    clusters: Annotated[int, Field(ge=2)] = 10
    steps: Annotated[int, Field(ge=1)] = 300
    lr: Annotated[Number, Field(gt=0)] = 0.1
    epochs: Annotated[int, Field(ge=1)] = 15
    temperature: Annotated[Number, Field(gt=0)] = 0.1
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """Contrastive training on two views."""
        return 2 * self.epochs + 2

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the surrogate, cluster the images, move each cluster to the next."""
        model = new_surrogate(self.surrogate, data, PROJECTED, generator=generator, device=device)
        seed = arrays.draw_seed(generator)
        if not draft.reached("noise"):
            recipe = Recipe(epochs=self.epochs, lr=0.1, crop=0, flip=False)
            yield from trained(model, data, task, recipe, seed=seed, draft=draft, loss=_contrastive)
        count = min(self.clusters, len(data))
        theta = torch.zeros(count, *data.shape, device=device, requires_grad=True)
        optimizer = torch.optim.Adam([theta], lr=self.lr)
        done = draft.enter("noise", model=model, theta=theta, optimizer=optimizer, generator=generator)
        freeze(model)
        rows, centers = clustered(model, data, count, seed=seed % 2**31, device=device)
        yield from self._move(data, task, model, theta, optimizer, rows, centers, done, generator, device, draft)
        noise = self.eps * theta.detach().tanh().cpu()
        return (yield from add_noise(data, lambda part: noise[rows[part]], eps=self.eps))

    def _move(
        self, data: Data, task: Task, model: nn.Module, theta: Tensor, optimizer: torch.optim.Optimizer, rows: Tensor,
        centers: Tensor, done: int, generator: torch.Generator, device: torch.device, draft: Draft,
    ) -> Generator[Progress, None, None]:  # fmt: skip
        """Take Adam's steps on random batches."""
        for number in range(done + 1, self.steps + 1):
            batch = shuffled(len(data), min(256, len(data)), generator)[0]
            images, _ = load(data, task, batch, device)
            own = rows[batch].to(device)
            aim = functional.softmax(centers[(own + 1) % len(centers)] / self.temperature, 1)
            found = features(model, (images + self.eps * theta[own].tanh()).clamp(0, 1))
            loss = functional.kl_div(
                functional.log_softmax(functional.normalize(found, dim=1) / self.temperature, 1), aim,
                reduction="batchmean",
            )  # fmt: skip
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            draft.keep(number)
            yield Progress(number, self.steps)


def clustered(
    model: nn.Module, data: Data, count: int, *, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the cluster of each image, (n,), and the normalized cluster centers, (count, features)."""
    from sklearn.cluster import KMeans

    with torch.no_grad():
        found = torch.cat(
            [features(model, arrays.to_images(data.pixels[part], device)) for part in arrays.chunks(len(data), 512)]
        )
    unit = functional.normalize(found, dim=1).cpu()
    fitted = KMeans(count, n_init=4, random_state=seed).fit(unit.numpy())
    centers = functional.normalize(torch.from_numpy(fitted.cluster_centers_).float(), dim=1)
    return torch.from_numpy(fitted.labels_).long(), centers.to(device)


def _contrastive(
    task: Task, model: nn.Module, images: Images, targets: Targets, generator: torch.Generator
) -> PerExample:
    return simclr(model, images, generator)
