"""Explanations of errors in a user's own network and data, found after the fact: a successful call costs nothing."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models.modes import in_eval_mode
from howfar.tasks import Task, given
from howfar.tasks.given import refuse_no_network
from howfar.tasks.own_loss import OwnLoss

FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
)  # what torch raises where shapes or classes do not fit
FLOATS = "the targets are floating-point numbers, and the loss takes classes. Pass integers from 0: y.long()."
Work = TypeVar("Work", bound=Callable[..., Any])


def explained(work: Work) -> Work:
    """Decorate what takes a network, data and a task: an error says so where inputs or classes do not fit the network.

    Args:
        work: a function or a generator; its parameters are called ``model``, ``data`` or ``clean``, and ``task``.
    """
    parameters = inspect.signature(work)

    def why(error: Exception, *arguments: Any, **settings: Any) -> str:
        if type(error) not in FAILURES:
            return ""
        found = parameters.bind(*arguments, **settings).arguments
        data, task = found["data"] if "data" in found else found["clean"], found.get("task")
        return _fault(found["model"], *given(found["model"], data, task))

    @functools.wraps(work)
    def done(model: nn.Module, *arguments: Any, **settings: Any) -> Any:
        refuse_no_network(model)
        try:
            return work(model, *arguments, **settings)
        except Exception as error:
            if told := why(error, model, *arguments, **settings):
                raise UsageError(told) from error
            raise

    @functools.wraps(work)
    def steps(model: nn.Module, *arguments: Any, **settings: Any) -> Any:
        refuse_no_network(model)
        try:
            yield from work(model, *arguments, **settings)
        except Exception as error:
            if told := why(error, model, *arguments, **settings):
                raise UsageError(told) from error
            raise

    return cast(Work, steps if inspect.isgeneratorfunction(work) else done)


@torch.enable_grad()
def _fault(model: nn.Module, data: Data, task: Task) -> str:
    """Return what is wrong with one input, the outputs, the targets or the loss; empty if that is unknown."""
    first = arrays.to_images(data.pixels[:1], next(model.parameters()).device)
    shape = tuple(first.shape[1:])
    try:
        trial = copy.deepcopy(model)  # the network itself stays as it is
    except Exception:  # somebody's network
        return ""
    with in_eval_mode(trial):
        try:
            output = trial(first)
        except Exception as error:  # of somebody's network
            return f"the network does not take inputs of shape {shape} ({error}). Pass them as it takes them: (X, y)."
    targets = data.targets_of(task.target)
    if isinstance(output, Tensor) and output.ndim == 2 and isinstance(targets, Tensor) and _are_classes(targets):
        low, high, count = int(targets.min()), int(targets.max()), output.shape[1]
        if not 0 <= low <= high < count:
            return (
                f"the network has {count} outputs, but the classes go from {low} to {high}. Number them from 0, and "
                "give the network one output per class."
            )
    return _fault_of_loss(task, output, arrays.at(targets, slice(0, 1), first.device))


def _fault_of_loss(task: Task, output: Any, target: Any) -> str:
    """Return what is wrong with the loss of one example, or with the outputs or targets for it; empty if nothing is."""
    loss = task.criterion if isinstance(task, OwnLoss) else task.loss
    try:
        value: Any = loss(output, target)
    except Exception:  # of somebody's loss
        if not isinstance(output, Tensor):
            return _no_tensor(output)
        return FLOATS if _takes_classes(loss, output, target) else ""
    if not isinstance(value, Tensor):
        return (
            f"the loss returns a {type(value).__name__}, which has no gradient. Return the tensor: leave out .item(), "
            "float() and .numpy()."
        )
    if isinstance(output, Tensor) and output.requires_grad and not value.requires_grad:
        return (
            "the loss has no gradient. Compute it from the outputs by functions of torch, without .detach() and "
            "outside torch.no_grad()."
        )
    return ""


def _no_tensor(output: Any) -> str:
    """Return how to get a tensor out of what a network returns."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        part = f"output[{next(iter(output), 'logits')!r}]"
    else:
        part = "output[0]" if isinstance(output, tuple | list) else "output.logits"
    return (
        f"the network returns a {kind}, not a tensor, and the loss does not take it. Return one tensor from forward, "
        f"or pass a loss that does: lambda output, target: torch.nn.functional.cross_entropy({part}, target)."
    )


def _takes_classes(loss: Callable[[Any, Any], Any], output: Tensor, target: Any) -> bool:
    """Return whether a loss fails because the classes are floating-point numbers."""
    if not isinstance(target, Tensor) or not target.is_floating_point() or not torch.equal(target, target.round()):
        return False
    try:
        loss(output, target.long())
    except Exception:  # of somebody's loss
        return False
    return True


def _are_classes(targets: Tensor) -> bool:
    return targets.ndim == 1 and not targets.is_floating_point() and len(targets) > 0
