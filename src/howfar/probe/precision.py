"""Probes need float64. On devices without it, such as Apple GPUs, a copy of the network is probed on the CPU."""

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from howfar import arrays

Measure = TypeVar("Measure", bound=Callable[..., Any])


def precise(measure: Measure) -> Measure:
    """Decorate a probe, whose first argument is the network, to use a copy on the CPU if the device has no float64.

    Probes do not modify the network, so only the computing time differs.
    """

    @functools.wraps(measure)
    def measured(model: nn.Module, *arguments: Any, **settings: Any) -> Any:
        first = next(model.parameters(), None)
        if first is not None and not arrays.has_float64(first.device):
            model = copy.deepcopy(model).cpu()
        return measure(model, *arguments, **settings)

    return cast(Measure, measured)
