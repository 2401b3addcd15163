"""Unlearnable examples for several tasks at once."""

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
from howfar.protect.codes import Codes, coded
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, Settings, add_noise
from howfar.protect.surrogate import clipped_step, freeze, load, new_surrogate, shuffled
from howfar.protect.unet import NoiseNet
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class MultiTaskUnlearnable(Protector):
    """Multi-task unlearnable examples, MTL-UE (Yu et al., ICML 2025, arXiv:2505.05279).

    Error-minimizing: a generator makes the noise from the image and an embedding of its label for every task. In every
    round it learns for an epoch to lower the loss of a surrogate of all tasks, which then learns some batches of
    protected images.
    Regularisers keep the embeddings of a task's classes apart (weight ``apart``) and those of different tasks
    independent (``independent``), both by squared cosines.

    Differs from the released code: embeddings join the image at full resolution, so that maps of classes and of levels
    serve as labels too; a fixed number of rounds. Without labels, ``embedding=0``, the generator is that of UnSeg (Sun
    et al., NeurIPS 2024, arXiv:2410.09909) in small: it sees the image alone and lowers the loss of a dense task.

    Attributes:
        eps: L∞ radius, images in [0, 1].
        rounds: of generator and surrogate (published: at most 60).
        train_steps: surrogate batches a round (published: 10).
        embedding: numbers for a label; 0 shows the generator no label.
        apart: weight of the regulariser within a task.
        independent: weight of the regulariser between tasks.
        levels: into how many a real target is cut.
        width: channels of the generator at full resolution.
        lr: of Adam on the generator.
        surrogate: an entry of the models' table (published: resnet18).
        surrogate_lr: of SGD on it (momentum 0.9, weight decay 5e-4, gradients clipped to norm 5).
        batch_size: images a step.
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
        """The generator's epoch, twice as dear as the surrogate's own would be."""
        return 2.0 * self.rounds

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the generator beside a surrogate, then let it make all noise."""
        rng = arrays.rng_of(arrays.draw_seed(generator), -1)
        codes: Sequence[Codes] = []
        if self.embedding:
            codes = coded(data.answers(task.target), task.target, levels=self.levels, rng=rng)
        counts = [own.count for own in codes]
        maker = build(
            lambda shape, _: Labelled(shape[0], counts, self.embedding, self.width, self.eps), data.shape, 1,
            generator=generator,
        ).to(device)  # fmt: skip
        yield from self._play(data, task, codes, maker, generator, device, draft)
        freeze(maker)

        @torch.no_grad()
        def noise_of(part: slice) -> Tensor:
            noise: Tensor = maker(arrays.to_images(data.pixels[part], device), _told(codes, part, device))
            return noise.cpu()

        return (yield from add_noise(data, noise_of, eps=self.eps, size=256))

    def _play(
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
                protected = (images + maker(images, _told(codes, batch, device))).clamp(0, 1)
                loss = task.loss(model(protected), target).mean()
                leader.zero_grad(set_to_none=True)
                (loss + self._regularised(maker)).backward()
                leader.step()
                total += float(loss.detach()) * len(batch)
            maker.eval()
            model.train()
            for batch in itertools.islice(shuffled(len(data), self.batch_size, generator), self.train_steps):
                images, target = load(data, task, batch, device)
                with torch.no_grad():
                    protected = (images + maker(images, _told(codes, batch, device))).clamp(0, 1)
                clipped_step(model, follower, task.loss(model(protected), target).mean())
            draft.keep(number, total / len(data))
            yield Progress(number, self.rounds, f"loss {total / len(data):.3f}")

    def _regularised(self, maker: nn.Module) -> Tensor | float:
        learned = [module.weight[:-1] for module in maker.modules() if isinstance(module, nn.Embedding)]
        tables = [functional.normalize(weight, dim=1) for weight in learned]
        within = [_alike(table @ table.T, len(table)) for table in tables if len(table) > 1]
        between = [(one @ other.T).square().mean() for one, other in itertools.combinations(tables, 2)]
        return sum((self.apart * part for part in within), 0.0) + sum(
            (self.independent * part for part in between), 0.0
        )


class Labelled(nn.Module):
    """A generator that sees the image and, at every pixel, an embedding of each of its labels.

    Args:
        channels: of an image.
        counts: of every target's values; one more means none.
        embedding: numbers for a value.
        width: channels at full resolution.
        eps: L∞ radius of the noise.
    """

    def __init__(self, channels: int, counts: Sequence[int], embedding: int, width: int, eps: float) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count + 1, embedding) for count in counts)
        self.net = NoiseNet(channels + embedding * len(counts), width, eps, channels)

    def forward(self, images: Images, codes: Sequence[Tensor]) -> Images:
        """Return noise for each image from it and its codes, (n,) or (n, height, width) a target."""
        planes = [images]
        for table, values in zip(self.tables, codes, strict=True):
            told = table(values)
            wide = told.movedim(-1, 1) if told.ndim > 2 else told[:, :, None, None]
            planes.append(wide.expand(-1, -1, *images.shape[2:]))
        noise: Tensor = self.net(torch.cat(planes, 1))
        return noise


def _told(codes: Sequence[Codes], at: Tensor | slice, device: torch.device) -> list[Tensor]:
    return [own.values[at].to(device) for own in codes]


def _alike(cosines: Tensor, count: int) -> Tensor:
    """Return the mean square of those off the diagonal, which is 1."""
    return (cosines.square().sum() - count) / (count * (count - 1))
