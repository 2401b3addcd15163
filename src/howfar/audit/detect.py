"""All detectors, and the verdict on a data set."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from howfar.audit.calibration import Calibration, calibrated
from howfar.audit.flat import fine_texture, flat, texture
from howfar.audit.noise import one_pixel, shared
from howfar.audit.sample import LEAST, Sample, similarity
from howfar.audit.separability import filters, linear, remainder
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors import Progress

Detector = Callable[[Sample], float]
DETECTORS: Mapping[str, Detector] = {
    "linear": linear,
    "remainder": remainder,
    "filters": filters,
    "shared": shared,
    "flat": flat,
    "texture": texture,
    "fine-texture": fine_texture,
    "one-pixel": one_pixel,
}


CALIBRATED = 28, 32  # image sides of the calibration sets, pixels
POWER = 0.7  # share of protected sets found, below which finding nothing means nothing
SIMILAR = 0.85  # largest similarity of images of one class


@dataclass(frozen=True)
class AuditResult:
    """Result of an audit.

    Attributes:
        images: number of images examined.
        classes: number of labels examined.
        scores: by detector; larger is more like protection. Empty if there was nothing to examine.
        above: detectors above their own threshold.
        suspicion: combined score ÷ the highest one of clean calibration sets; above 1, the set looks protected.
        protected: whether the set looks protected; None if undecided.
        family: most likely kind of protection.
        sure: probability of that kind, given that the set is protected by a known one.
        false_alarms: upper bound on the rate of false alarms on sets like those of the calibration.
        clean_sets: number of clean and noisy calibration sets of about this size, which the bound follows from.
        power: share of protected calibration sets of about this size that are found.
        why_open: why the verdict is undecided, and how to get one; empty if decided.
    """

    images: int
    classes: int
    scores: dict[str, float]
    above: list[str]
    suspicion: float
    protected: bool | None
    family: str
    sure: float
    false_alarms: float
    clean_sets: int
    power: float
    why_open: str = ""


def scored(data: Data, *, seed: int = 0) -> Iterator[tuple[str, float]]:
    """Yield the score of every detector on a labeled set of small images.

    Args:
        data: images with target ``label``.
        seed: of the splits.

    Raises:
        UsageError: if fewer than two classes have enough images.
    """
    sample = Sample.of(data, seed=seed)
    if sample.classes < 2:
        raise UsageError(f"an audit needs at least two classes with at least {LEAST} images each.")
    for name, detector in DETECTORS.items():
        yield name, detector(sample)


def audit(
    data: Data, *, seed: int = 0, labeled: bool = True, calibration: Calibration | None = None
) -> Generator[Progress, None, AuditResult]:
    """Test a labeled set of small images, preferably 32×32, for protection; yields progress, returns the finding.

    Args:
        data: images with target ``label``; those of ``Sample.of`` are examined.
        seed: of the sampled images and of the splits.
        labeled: whether labels are given; False if they are clusters.
        calibration: None takes the one shipped with the package.
    """
    known: Calibration = calibration or calibrated()
    sample = Sample.of(data, seed=seed)
    size, scores = len(sample.data), dict[str, float]()
    if sample.classes >= 2:
        for name, detector in DETECTORS.items():
            scores[name] = detector(sample)
            yield Progress(len(scores), len(DETECTORS), name)
    suspicion = known.suspicion(scores, size) if scores else 0.0
    why_open = _why_open(sample, known, labeled=labeled)
    if not why_open and suspicion <= 1 and known.power(size) < POWER:
        why_open = _too_few(size, known)
    family, sure = known.family(scores, size) if scores else ("", 0.0)
    false_alarms, clean_sets = known.false_alarms(size)
    return AuditResult(
        images=size,
        classes=sample.classes,
        scores=scores,
        above=known.above(scores, size),
        suspicion=suspicion,
        protected=None if why_open else suspicion > 1,
        family=family,
        sure=sure,
        false_alarms=false_alarms,
        clean_sets=clean_sets,
        power=known.power(size),
        why_open=why_open,
    )


def _why_open(sample: Sample, known: Calibration, *, labeled: bool) -> str:
    """Return why the calibration does not apply to these images; empty if it does."""
    if not labeled:
        return (
            "labels are unknown, and common content of a cluster looks like class-wise noise. Sort the images into "
            "subfolders, or give --labels FILE.csv."
        )
    least = known.sizes[0]
    if sample.classes < 2 or len(sample.data) < least:
        return (
            f"at least two classes with {LEAST} images each, {least} images together, are needed; the calibration used "
            f"sets of {least} images and more. Add images."
        )
    low, high = CALIBRATED
    height, width = sample.data.shape[1:]
    if not (low <= height <= high and low <= width <= high):
        return (
            f"images of {height}×{width} are outside the calibration, which used {low}×{low} and {high}×{high}: clean "
            "digits of 8×8 score like protected images. Give images of that size, or larger ones with --size 32."
        )
    if similarity(sample) > SIMILAR:
        return (
            "the images of a class are nearly the same, and what they have in common looks like class-wise noise. Give "
            "one image of each scene or form."
        )
    return ""


def _too_few(size: int, known: Calibration) -> str:
    """Return why finding nothing in a small set means nothing."""
    enough = known.enough(POWER)
    advice = f" Give at least {enough}." if enough else ""
    return (
        f"nothing was found, but of protected sets of about {size} images only {100 * known.power(size):.0f} % are "
        f"found.{advice}"
    )
