"""Deep feature reweighting (Kirichenko et al., ICLR 2023, arXiv:2204.02937)."""

import warnings
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from torch import nn

from howfar import arrays
from howfar.data import Data
from howfar.defend.defense import Defense, Learner, published
from howfar.defend.linear_probe import Labels, Values, head_inputs, put_head

VERSION = 1
STRENGTHS = (1.0, 0.1, 0.01)  # scikit-learn's C, the strongest penalty last


@published(draws=20)
def dfr(draws: Annotated[int, Field(ge=1)] = 5) -> Defense:
    """Deep feature reweighting, DFR: a sparse head fitted to a few clean images (ICLR 2023, arXiv:2204.02937).

    An L1-regularized logistic regression on standardized features of the frozen network, averaged over class-balanced
    draws of the clean images; its strength is selected by fitting on one half of them and testing on the other.

    Differs from the released code, whose groups are classes with and without a spurious feature: the regression is
    multinomial, not one-vs-rest; features are standardized by the clean images, not by the training set; the strength
    is selected by mean accuracy from 3 values, not by worst-group accuracy from 7.

    Args:
        draws: number of averaged regressions (20 in the released code).

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, build
        >>> from howfar.defend import Learner
        >>> from howfar.tasks import classification
        >>> splits = DATASETS["digits"]()
        >>> model = build(MODELS["linear"](), splits.train.shape, outputs=10)
        >>> learner = Learner(classification()(splits.train), clean=splits.test.take(range(100)))
        >>> DEFENSES["dfr"](draws=2).after(model, splits.train, learner)  # replaces the head in place
    """
    return Defense(after=partial(_refit, draws=draws), needs_clean=True, needs_labels=True)


def _refit(model: nn.Module, data: Data, learner: Learner, *, draws: int) -> None:
    inputs, labels = head_inputs(model, learner.few, learner)
    center, scale = inputs.mean(0), inputs.std(0) + 1e-8
    inputs = (inputs - center) / scale
    random = np.random.default_rng(arrays.draw_seed(learner.generator("dfr")))
    strength = _strength(inputs, labels, random)
    chosen = [_balanced(labels, random) for _ in range(draws)]
    fitted = [_fit(strength, inputs[places], labels[places]) for places in chosen]
    weights = np.mean([one.coef_ for one in fitted], axis=0)
    biases = np.mean([one.intercept_ for one in fitted], axis=0)
    put_head(model, weights, biases, np.unique(labels), (center, scale))


def _strength(inputs: Values, labels: Labels, random: np.random.Generator) -> float:
    """Return the C with the best accuracy on the other half."""
    chosen = np.concatenate([random.permutation(np.flatnonzero(labels == label))[::2] for label in np.unique(labels)])
    other = np.setdiff1d(np.arange(len(labels)), chosen)
    if not len(other):
        return STRENGTHS[0]
    fitted = {c: _fit(c, inputs[chosen], labels[chosen]) for c in STRENGTHS}
    return max(STRENGTHS, key=lambda c: float(fitted[c].score(inputs[other], labels[other])))


def _balanced(labels: Labels, random: np.random.Generator) -> Labels:
    """Return indices of a class-balanced sample, drawn without replacement."""
    least = np.unique(labels, return_counts=True)[1].min()
    return np.concatenate([random.permutation(np.flatnonzero(labels == label))[:least] for label in np.unique(labels)])


def _fit(strength: float, inputs: Values, labels: Labels) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=strength, l1_ratio=1.0, solver="saga", max_iter=300, tol=1e-3, random_state=0)
    with warnings.catch_warnings():  # with the weakest penalty it may stop early, which also regularizes
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regression.fit(inputs, labels)
