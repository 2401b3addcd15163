"""Measurements need float64, which Apple's GPUs lack: there a copy of the network is measured on the CPU."""

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from howfar import arrays

Measure = TypeVar("Measure", bound=Callable[..., Any])


def precise(measure: Measure) -> Measure:
    """Make a measurement, whose first argument is the network, take a copy on the CPU if its device has no float64.

    A measurement leaves the network as it was, so the numbers are those that the CPU gives; only the time is the CPU's.
    """

    @functools.wraps(measure)
    def measured(model: nn.Module, *arguments: Any, **settings: Any) -> Any:
        first = next(model.parameters(), None)
        if first is not None and not arrays.has_float64(first.device):
            model = copy.deepcopy(model).cpu()
        return measure(model, *arguments, **settings)

    return cast(Measure, measured)
