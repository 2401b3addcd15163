"""Do features survive? A backbone that has learned another task from the protected images, and stays as it is."""

from functools import partial
from types import MethodType

from torch import nn

from howfar.data import Data
from howfar.defend.clean_only import few_again
from howfar.defend.defense import Defense, Learner
from howfar.errors import UsageError
from howfar.models.build import beside
from howfar.models.heads import OWN, backbone_of
from howfar.spec import parse
from howfar.tasks import TASKS
from howfar.train import train

VERSION = 1


def transfer(task: str) -> Defense:
    """Transfer: trains another task on the protected images, then only the head on a few clean ones.

    The backbone is frozen in between. Says whether features survive protection; beside it belongs ``clean-only``, which
    has no features to begin with.

    Args:
        task: what the backbone learns, an entry of the tasks' table, e.g. ``class_scene``.
    """
    return Defense(purify=few_again, before=partial(_learn, source=task), needs_clean=True)


def _learn(model: nn.Module, data: Data, learner: Learner, *, source: str) -> None:
    if learner.given is None:
        raise UsageError("transfer needs the protected images themselves. Run it by howfar bench.")
    task = parse(source, TASKS, "task").build()(learner.given)
    teacher = beside(model, data.shape, task.outputs, generator=learner.generator("head"))
    list(train(teacher, task, task.prepare(learner.given), learner.recipe, seed=learner.seed))
    backbone = backbone_of(model)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] in OWN)
    backbone.eval()
    backbone.train = MethodType(_stay, backbone)


def _stay(self: nn.Module, mode: bool = True) -> nn.Module:
    """Leave batch normalisations at what they have seen."""
    return self
