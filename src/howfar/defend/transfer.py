"""Transfer of a frozen backbone that was trained on another task of the protected images."""

from functools import partial
from types import MethodType

from torch import nn

from howfar.data import Data
from howfar.defend.clean_only import repeated_clean
from howfar.defend.defense import Defense, Learner
from howfar.errors import UsageError
from howfar.models.build import with_shared_backbone
from howfar.models.heads import OWN, backbone_of
from howfar.spec import parse
from howfar.tasks import TASKS
from howfar.training import train

VERSION = 1


def transfer(task: str) -> Defense:
    """Transfer: trains another task on the protected images, then only the head on a few clean ones.

    The backbone is then frozen. Tests whether features survive protection; compare with ``clean-only``, which has no
    pre-trained features.

    Args:
        task: task of the backbone, an entry of ``TASKS``, e.g. ``class_scene``.

    Example:
        >>> import torch
        >>> from howfar import DEFENSES, MODELS, Data, Recipe, build
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> targets = {"scene": torch.arange(40) % 4, "object": torch.arange(40) % 2}
        >>> data = Data.from_arrays(torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8), targets)
        >>> model = build(MODELS["resnet8"](width=4), data.shape, outputs=2)
        >>> learner = Learner(
        ...     classification("object")(data), Recipe(epochs=1), clean=data.take(range(10)), given=data
        ... )
        >>> DEFENSES["transfer"]("classification[target=scene]").before(model, data, learner)
        >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
        ['head.weight', 'head.bias']
    """
    return Defense(purify=repeated_clean, before=partial(_learn, source=task), needs_clean=True)


def _learn(model: nn.Module, data: Data, learner: Learner, *, source: str) -> None:
    if learner.given is None:
        raise UsageError("transfer needs the protected images. Run it with howfar bench.")
    task = parse(source, TASKS, "task").build()(learner.given)
    teacher = with_shared_backbone(model, data.shape, task.outputs, generator=learner.generator("head"))
    list(train(teacher, task.prepare(learner.given), task, learner.recipe, seed=learner.seed))
    backbone = backbone_of(model)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] in OWN)
    backbone.eval()
    backbone.train = MethodType(_keep_mode, backbone)


def _keep_mode(self: nn.Module, mode: bool = True) -> nn.Module:
    """Keep the mode, so that batch statistics stay frozen."""
    return self
