"""DeepConfuse."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from howfar import arrays
from howfar.arrays import Images, Targets
from howfar.data import Data
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, Settings
from howfar.protectors.surrogate import load, new_surrogate, shuffled
from howfar.protectors.unet import craft_generated
from howfar.spec import Eps, Number
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class DeepConfuse(Protector):
    """DeepConfuse, DC (Feng et al., NeurIPS 2019, arXiv:1905.09027).

    A generator g produces the noise δ = eps·tanh(·). While a classifier is trained on x + g(x), the generator ascends
    the loss on clean images after one more step of the classifier on x + g(x) (second order: the gradient flows through
    the step). Then the classifier is reinitialized.

    Differs from the released code: the last generator is used, not the one with the best result on the test set; only
    training images are used.

    Attributes:
        eps: L∞ radius, images in [0, 1] (published: 0.032).
        rounds: classifiers trained from scratch (published: 1,000).
        epochs: of each classifier (published: 20).
        inner_lr: learning rate of the classifier (published: 0.01).
        lr: of Adam on the generator (published: 1e-4).
        width: channels of the generator at full resolution.
        batch_size: images per step.
        surrogate: an entry of ``MODELS`` (published: a VGG with 11 layers).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("dc[eps=4/255,rounds=1]", X, y)
        >>> bool((protected.int() - X).abs().max() <= 4)  # 1/255
        True
    """

    norm: ClassVar[str] = "L∞"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "any"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "6 × rounds × epochs passes with gradients over the set"
    published: ClassVar[Settings] = {
        "eps": 0.032, "rounds": 1000, "epochs": 20, "inner_lr": 0.01, "lr": 1e-4, "width": 64, "batch_size": 256,
        "surrogate": "resnet18",
    }  # fmt: skip

    eps: Eps = 8 / 255
    rounds: Annotated[int, Field(ge=1)] = 8
    epochs: Annotated[int, Field(ge=1)] = 4
    inner_lr: Annotated[Number, Field(gt=0)] = 0.05
    lr: Annotated[Number, Field(gt=0)] = 2e-3
    width: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 128
    surrogate: str = "resnet8[width=8]"

    @property
    def passes(self) -> float:
        """A second-order step costs about as much as five others."""
        return 6 * self.rounds * self.epochs

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Train the generator, then apply it."""
        return (
            yield from craft_generated(
                data, task, lambda maker: self._train(data, task, maker, generator, device, draft), width=self.width,
                eps=self.eps, generator=generator, device=device, draft=draft,
            )
        )  # fmt: skip

    def _train(
        self, data: Data, task: Task, maker: nn.Module, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Generator[Progress, None, None]:
        ascent = torch.optim.Adam(maker.parameters(), lr=self.lr)
        seed = generator.initial_seed()
        for number in range(draft.enter("rounds", maker=maker, ascent=ascent, generator=generator), self.rounds):
            fresh = arrays.seeded(seed, "classifier", number)
            model = new_surrogate(self.surrogate, data, task.outputs, generator=fresh, device=device)
            descent = torch.optim.SGD(model.parameters(), lr=self.inner_lr, momentum=0.9, weight_decay=5e-4)
            total, steps = 0.0, 0
            for _ in range(self.epochs):
                for batch in shuffled(len(data), self.batch_size, fresh):
                    images, target = load(data, task, batch, device)
                    loss = lookahead_loss(task, model, maker, images, target, lr=self.inner_lr)
                    ascent.zero_grad(set_to_none=True)
                    (-loss).backward()
                    ascent.step()
                    descent.zero_grad(set_to_none=True)
                    with torch.no_grad():
                        protected = (images + maker(images)).clamp(0, 1)
                    task.loss(model(protected), target).mean().backward()
                    descent.step()
                    total, steps = total + float(loss.detach()), steps + 1
            draft.keep(number + 1, total / steps)
            yield Progress(number + 1, self.rounds, f"clean loss {total / steps:.3f}")


def lookahead_loss(
    task: Task, model: nn.Module, maker: nn.Module, images: Images, target: Targets, *, lr: float
) -> Tensor:  # fmt: skip
    """Return the clean loss of the classifier after one step on protected images, differentiable in the generator."""
    weights = dict(model.named_parameters())
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    protected = (images + maker(images)).clamp(0, 1)
    loss = task.loss(functional_call(model, {**weights, **buffers}, (protected,)), target).mean()
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    ahead = {name: weight - lr * step for (name, weight), step in zip(weights.items(), gradients, strict=True)}
    return task.loss(functional_call(model, {**ahead, **buffers}, (images,)), target).mean()
