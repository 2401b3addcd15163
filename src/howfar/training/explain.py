"""Explanations of errors in a user's own network and data, found after the fact: a successful call costs nothing."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models.modes import in_eval_mode
from howfar.tasks import Task, given
from howfar.tasks.given import refuse_no_network

FAILURES = (RuntimeError, ValueError, TypeError, IndexError)  # what torch raises where shapes or classes do not fit
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


@torch.no_grad()
def _fault(model: nn.Module, data: Data, task: Task) -> str:
    """Return what is wrong with one input or with the classes; empty where nothing is, or where the loss fails."""
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
    return ""


def _are_classes(targets: Tensor) -> bool:
    return targets.ndim == 1 and not targets.is_floating_point() and len(targets) > 0
