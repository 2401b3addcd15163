"""Multi-task unlearnable examples."""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Images
from howfar.data import Data
from howfar.models import build
from howfar.protectors.codes import Codes, coded
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings, add_noise
from howfar.protectors.surrogate import clipped_step, freeze, load, new_surrogate, shuffled
from howfar.protectors.unet import NoiseNet
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class MultiTaskUnlearnable(Protector):
    """Multi-task unlearnable examples, MTL-UE (Yu et al., ICML 2025, arXiv:2505.05279).

    Error-minimizing: a generator computes the noise from the image and an embedding of its label for every task. In
    every round, the generator is trained for an epoch to minimize the loss of a multi-task surrogate, which is then
    trained on some batches of protected images. Regularizers separate the embeddings of a task's classes (weight
    ``apart``) and decorrelate those of different tasks (``independent``), both by squared cosines.

    Differs from the released code: embeddings are concatenated with the image at full resolution, so that per-pixel
    classes and levels can be labels as well; a fixed number of rounds. With ``embedding=0``, the generator gets the
    image only and minimizes the loss of a dense task, like a small UnSeg (Sun et al., NeurIPS 2024, arXiv:2410.09909).

    Attributes:
        eps: L∞ radius, images in [0, 1].
        rounds: of generator and surrogate (published: at most 60).
        train_steps: surrogate batches per round (published: 10).
        embedding: dimension of a label's embedding; 0 uses no labels in the generator.
        apart: weight of the regularizer within a task.
        independent: weight of the regularizer between tasks.
        levels: number of quantization levels of a real target.
        width: channels of the generator at full resolution.
        lr: of Adam on the generator.
        surrogate: an entry of ``MODELS`` (published: resnet18).
        surrogate_lr: learning rate of the surrogate (SGD, momentum 0.9, weight decay 5e-4, gradients clipped to norm
            5).
        batch_size: images per step.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("mtl-ue[eps=4/255]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "any"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "2 × rounds passes with gradients over the set"
    published: ClassVar[Settings] = {"rounds": 60, "surrogate": "resnet18"}

    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 20
    train_steps: Annotated[int, Field(ge=1)] = 10
    embedding: Annotated[int, Field(ge=0)] = 8
    apart: Annotated[Number, Field(ge=0)] = 10.0
    independent: Annotated[Number, Field(ge=0)] = 200.0
    levels: Annotated[int, Field(ge=2, le=255)] = 16
    width: Annotated[int, Field(ge=1)] = 8
    lr: Annotated[Number, Field(gt=0)] = 2e-3
    surrogate: str = "resnet8[width=8]"
    surrogate_lr: Annotated[Number, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 64

    @property
    def passes(self) -> float:
        """An epoch of the generator costs twice as much as one of the surrogate."""
        return 2.0 * self.rounds

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train generator and surrogate, then apply the generator."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        codes: Sequence[Codes] = []
        if self.embedding:
            codes = coded(data.targets_of(task.target), task.target, levels=self.levels, rng=rng)
        counts = [own.count for own in codes]
        maker = build(
            lambda shape, _: Labeled(shape[0], counts, self.embedding, self.width, self.eps), data.shape, 1,
            generator=generator,
        ).to(device)  # fmt: skip
        yield from self._train(data, task, codes, maker, generator, device, draft)
        freeze(maker)

        @torch.no_grad()
        def noise_of(part: slice) -> Tensor:
            noise: Tensor = maker(arrays.to_images(data.pixels[part], device), _labels(codes, part, device))
            return noise.cpu()

        return (yield from add_noise(data, noise_of, eps=self.eps, size=256))

    def _train(
        self, data: Data, task: Task, codes: Sequence[Codes], maker: nn.Module, generator: torch.Generator,
        device: torch.device, draft: Draft,
    ) -> Generator[Progress, None, None]:  # fmt: skip
        model = new_surrogate(self.surrogate, data, task.outputs, generator=generator, device=device)
        leader = torch.optim.Adam(maker.parameters(), lr=self.lr)
        follower = torch.optim.SGD(model.parameters(), lr=self.surrogate_lr, momentum=0.9, weight_decay=5e-4)
        done = draft.enter(
            "rounds", maker=maker, model=model, leader=leader, follower=follower, generator=generator
        )  # fmt: skip
        for number in range(done + 1, self.rounds + 1):
            maker.train()
            model.eval()
            total = 0.0
            for batch in shuffled(len(data), self.batch_size, generator):
                images, target = load(data, task, batch, device)
                protected = (images + maker(images, _labels(codes, batch, device))).clamp(0, 1)
                loss = task.loss(model(protected), target).mean()
                leader.zero_grad(set_to_none=True)
                (loss + self._regularized(maker)).backward()
                leader.step()
                total += float(loss.detach()) * len(batch)
            maker.eval()
            model.train()
            for batch in itertools.islice(shuffled(len(data), self.batch_size, generator), self.train_steps):
                images, target = load(data, task, batch, device)
                with torch.no_grad():
                    protected = (images + maker(images, _labels(codes, batch, device))).clamp(0, 1)
                clipped_step(model, follower, task.loss(model(protected), target).mean())
            draft.keep(number, total / len(data))
            yield Progress(number, self.rounds, f"loss {total / len(data):.3f}")

    def _regularized(self, maker: nn.Module) -> Tensor | float:
        weights = [module.weight[:-1] for module in maker.modules() if isinstance(module, nn.Embedding)]
        tables = [functional.normalize(weight, dim=1) for weight in weights]
        within = [_mean_square(table @ table.T, len(table)) for table in tables if len(table) > 1]
        between = [(one @ other.T).square().mean() for one, other in itertools.combinations(tables, 2)]
        return sum((self.apart * part for part in within), 0.0) + sum(
            (self.independent * part for part in between), 0.0
        )


class Labeled(nn.Module):
    """A generator with the image and per-pixel embeddings of its labels as input.

    Args:
        channels: of an image.
        counts: number of codes of every target; one more code marks missing values.
        embedding: dimension of an embedding.
        width: channels at full resolution.
        eps: L∞ radius of the noise.
    """

    def __init__(self, channels: int, counts: Sequence[int], embedding: int, width: int, eps: float) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count + 1, embedding) for count in counts)
        self.net = NoiseNet(channels + embedding * len(counts), width, eps, channels)

    def forward(self, images: Images, codes: Sequence[Tensor]) -> Images:
        """Return the noise of each image from its codes, (n,) or (n, height, width) per target."""
        planes = [images]
        for table, values in zip(self.tables, codes, strict=True):
            embedded = table(values)
            wide = embedded.movedim(-1, 1) if embedded.ndim > 2 else embedded[:, :, None, None]
            planes.append(wide.expand(-1, -1, *images.shape[2:]))
        noise: Tensor = self.net(torch.cat(planes, 1))
        return noise


def _labels(codes: Sequence[Codes], at: Tensor | slice, device: torch.device) -> list[Tensor]:
    return [own.values[at].to(device) for own in codes]


def _mean_square(cosines: Tensor, count: int) -> Tensor:
    """Return the mean square of the off-diagonal entries; the diagonal is 1."""
    return (cosines.square().sum() - count) / (count * (count - 1))
