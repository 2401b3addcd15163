"""Linear probe on a network trained on protected images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.defend.defense import Defense, Learner
from howfar.models import in_eval_mode
from howfar.models.features import features, last_linear

VERSION = 1
Values = NDArray[np.float64]
Labels = NDArray[np.int64]


def linear_probe() -> Defense:
    """Linear probe: a new head on the frozen network, fitted to a few clean images by logistic regression.

    Tests whether features learned from protected images are useful.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, build
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> splits = DATASETS["digits"]()
        >>> model = build(MODELS["linear"](), splits.train.shape, outputs=10)
        >>> learner = Learner(classification()(splits.train), clean=splits.test.take(range(100)))
        >>> DEFENSES["linear-probe"]().after(model, splits.train, learner)  # replaces the head in place
    """
    return Defense(after=_probe, needs_clean=True, needs_labels=True)


def _probe(model: nn.Module, data: Data, learner: Learner) -> None:
    from sklearn.linear_model import LogisticRegression

    inputs, labels = head_inputs(model, learner.few, learner)
    center, scale = inputs.mean(0), inputs.std(0) + 1e-8
    fitted = LogisticRegression(max_iter=2000).fit((inputs - center) / scale, labels)
    put_head(model, fitted.coef_, fitted.intercept_, fitted.classes_, (center, scale))


def head_inputs(model: nn.Module, data: Data, learner: Learner) -> tuple[Values, Labels]:
    """Return the inputs of the network's head in eval mode, (n, features), and the labels."""
    with in_eval_mode(model), torch.no_grad():
        found = [
            features(model, arrays.to_images(data.pixels[part], learner.device)).cpu().double()
            for part in arrays.chunks(len(data), 256)
        ]
    return torch.cat(found).numpy(), data.targets[learner.task.target].numpy()


def put_head(
    model: nn.Module, weights: Values, biases: Values, classes: Labels, standard: tuple[Values, Values]
) -> None:
    """Set the head to a logistic regression on standardized features; classes not in the fit get a low score.

    Args:
        model: its head is modified in place.
        weights: (classes or 1, features).
        biases: (classes or 1,).
        classes: indices of the classes in the fit.
        standard: mean and standard deviation of the features.
    """
    center, scale = standard
    if len(classes) == 2:  # scikit-learn keeps one row for two classes
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    head = last_linear(model)
    rows = torch.from_numpy(weights / scale)
    shift = torch.from_numpy(biases) - rows @ torch.from_numpy(center)
    places = torch.from_numpy(classes)

    def filled(values: Tensor, like: Tensor, missing: float) -> Tensor:
        full = torch.full(like.shape, missing, dtype=values.dtype)
        full[places] = values
        return full.to(like)

    with torch.no_grad():
        head.weight.copy_(filled(rows, head.weight, 0.0))
        if head.bias is not None:
            head.bias.copy_(filled(shift, head.bias, float(shift.min()) - 100))
