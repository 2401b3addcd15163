"""Two learners compared on the same test images: difference in accuracy, its interval, and what could be detected."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import FEW, Error, Spread, standard_error

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Variances:
    """Variance components of the difference of two predictions, which is −1, 0 or 1 for one seed and one image.

    Attributes:
        seeds: between the means of seeds, over all images there could be.
        images: between the means of images, over all seeds there could be.
        rest: of a seed and an image together.
        pooled: degrees of freedom of the variance between few seeds ÷ (seeds − 1); above 1 where the rows of a table
            share it.
    """

    seeds: float
    images: float
    rest: float = 0.0
    pooled: float = 1.0

    def error(self, images: int, seeds: int) -> Error:
        """Return the standard error of the mean difference, with Satterthwaite's degrees of freedom.

        Args:
            images: number of test images.
            seeds: number of seeds; with one, the error is about these two networks and new images alone.
        """
        both = self.rest / (images * seeds)
        over_images = self.images / images + both
        if seeds == 1:
            return Error(over_images, images - 1)
        over_seeds = self.seeds / seeds + both
        square = over_seeds + over_images - both
        freedom = (seeds - 1) * (self.pooled if seeds < FEW else 1.0)
        known = over_seeds**2 / freedom + over_images**2 / (images - 1)
        return Error(square, square**2 / known if known else freedom)

    def detectable(self, images: int, seeds: int, *, power: float = 0.8, confidence: float = 0.95) -> float:
        """Return the minimum detectable effect: the true difference that a test finds with probability ``power``.

        Args:
            images: number of test images.
            seeds: number of seeds.
            power: probability of finding it.
            confidence: 1 − the level of the two-sided test.

        Raises:
            UsageError: for fewer than two images, no seed, or probabilities that allow no test.

        Example:
            Two learners that disagree on 30 % of the images, with a standard deviation of 1 point between seeds:

            >>> known = Variances(seeds=0.01**2, images=0.3)
            >>> round(known.detectable(1000, 3), 3), round(known.detectable(10_000, 3), 3)
            (0.051, 0.026)
        """
        if images < 2 or seeds < 1 or not (0 < confidence < 1 and 0.5 <= power < 1):
            raise UsageError(
                f"{images} images, {seeds} seeds, power {power:g} and confidence {confidence:g} allow no test. "
                "Give at least 2 images, 1 seed, a power of 0.5 to 1 and a confidence of 0 to 1."
            )
        error = self.error(images, seeds)
        return error.half_width((1 + confidence) / 2) + error.half_width(power)


@dataclass(frozen=True)
class Paired:
    """The difference in accuracy of two learners on the same test images.

    Attributes:
        difference: accuracy of the second − accuracy of the first, with its interval over seeds and test images. Of one
            seed, the interval is that of these two networks over test images.
        p_value: of the hypothesis that there is no difference, two-sided.
        disagreement: share of the images that one of the two classifies correctly and the other does not, mean over
            seeds.
        images: number of test images.
        variances: components, from which ``detectable`` follows for other numbers of images and seeds.
    """

    difference: Estimate
    p_value: float
    disagreement: float
    images: int
    variances: Variances

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return self.difference.n

    def detectable(self, images: int | None = None, seeds: int | None = None, *, power: float = 0.8) -> float:
        """Return the minimum detectable effect (``Variances.detectable``); None takes the numbers of this comparison.

        Raises:
            UsageError: for several seeds after a comparison of one, which does not know how seeds scatter.
        """
        if self.seeds == 1 and (seeds or 1) > 1:
            raise UsageError("one seed does not tell how seeds scatter. Compare at least two seeds.")
        return self.variances.detectable(images or self.images, seeds or self.seeds, power=power)


def paired(one: ArrayLike, other: ArrayLike, *, confidence: float = 0.95, spread: Spread | None = None) -> Paired:
    """Compare two learners image by image, as McNemar's test does, with seeds as a second source of variance.

    The difference for seed s and image i is modeled as mean + seed + image + rest (crossed random effects). The
    variance of its mean is estimated from the three mean squares, and the interval is Student's t with Satterthwaite's
    degrees of freedom. With one seed this is McNemar's comparison. As in Agresti and Min's interval (Statistics in
    Medicine 24, 2005), half an image is added to each of the four cases of right and wrong, so that two learners which
    never disagree still have an interval.

    Args:
        one: which images the first learner classifies correctly, one row per seed, (seeds, images) or (images,).
        other: of the second learner, with the same seeds and images in the same order.
        confidence: of the interval.
        spread: of the differences of the table, as of ``howfar.score.intervals.mean_interval``.

    Raises:
        UsageError: if the two are not of the same shape, or have fewer than two images.

    Example:
        Of 100 images, both are right on 60, the first alone on 5, the second alone on 20:

        >>> import numpy as np
        >>> first = np.repeat([True, True, False, False], [60, 5, 20, 15])
        >>> second = np.repeat([True, False, True, False], [60, 5, 20, 15])
        >>> found = paired(first, second)
        >>> found.difference, round(found.p_value, 4)
        (Estimate(0.150, interval 0.054 to 0.246), 0.0025)
    """
    from scipy.special import stdtr

    first, second = (np.atleast_2d(np.asarray(values, dtype=bool)) for values in (one, other))
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 2:
        raise UsageError(
            f"predictions of shapes {first.shape} and {second.shape} cannot be paired. Give both as (seeds, images), "
            "with the same seeds and at least two images."
        )
    apart = second.astype(np.float64) - first
    variances = _variances(apart, spread)
    seeds, images = apart.shape
    error = variances.error(images, seeds)
    mean, half = float(apart.mean()), error.half_width((1 + confidence) / 2)
    return Paired(
        difference=Estimate(mean, mean - half, mean + half, seeds, "t"),
        p_value=2 * float(stdtr(error.freedom, -abs(mean) / error.square**0.5)),
        disagreement=float(np.abs(apart).mean()),
        images=images,
        variances=variances,
    )


def false_discoveries(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini and Hochberg's adjusted p-values: those up to 0.05 hold 5 % false discoveries on average.

    Example:
        >>> [round(value, 3) for value in false_discoveries([0.001, 0.04, 0.03, 0.5])]
        [0.004, 0.053, 0.053, 0.5]
    """
    from scipy import stats

    adjusted: list[float] = stats.false_discovery_control(p_values).tolist() if p_values else []
    return adjusted


def packed(correct: ArrayLike) -> str:
    """Return which images were classified correctly as text: one bit per image, in base64.

    Example:
        >>> packed([True, False, True]), unpacked("oA==", 3)
        ('oA==', array([ True, False,  True]))
    """
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode()


def unpacked(text: str, images: int) -> Bools:
    """Return what ``packed`` wrote.

    Args:
        text: of ``packed``.
        images: number of them.

    Raises:
        ValueError: if the text holds another number of images.
    """
    try:
        bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
    if len(bits) != (images + 7) // 8 or np.unpackbits(bits)[images:].any():
        raise ValueError(f"{8 * len(bits)} bits for {images} images")
    return np.unpackbits(bits, count=images).astype(bool)


def _variances(apart: NDArray[np.float64], spread: Spread | None) -> Variances:
    """Return the variance components of differences, (seeds, images)."""
    seeds, images = apart.shape
    by_seed, by_image = apart.mean(1), apart.mean(0)
    squares = float(by_image @ by_image) + 1 - float(by_image.sum()) ** 2 / (images + 2)
    over_images = squares / (images + 2)
    if seeds == 1:
        return Variances(0.0, over_images)
    rest = apart - by_seed[:, None] - by_image + apart.mean()
    mean_square = float(np.square(rest).sum()) / ((seeds - 1) * (images - 1))
    error = standard_error(by_seed.tolist(), spread=spread)
    over_seeds = max(error.square * seeds - mean_square / images, 0.0)
    over_images = max(over_images - mean_square / seeds, 0.0)
    return Variances(over_seeds, over_images, mean_square, error.freedom / (seeds - 1))
