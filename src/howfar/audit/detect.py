"""All detectors, and the verdict on a data set."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from howfar.audit.calibration import Calibration, calibrated
from howfar.audit.flat import flat, texture
from howfar.audit.learning import early, fragile, gain, shifted
from howfar.audit.noise import one_pixel, shared, spectrum
from howfar.audit.sample import MOST, Sample
from howfar.audit.separability import filters, linear, remainder, two_layers
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors import Progress

Detector = Callable[[Sample], float]
DETECTORS: Mapping[str, Detector] = {
    "linear": linear,
    "two-layers": two_layers,
    "remainder": remainder,
    "filters": filters,
    "spectrum": spectrum,
    "shared": shared,
    "flat": flat,
    "texture": texture,
    "one-pixel": one_pixel,
    "early": early,
    "gain": gain,
    "fragile": fragile,
    "shifted": shifted,
}
CALIBRATED = 28, 32  # image sides of the calibration sets, pixels
FEWEST = 500  # images in the smallest calibration sets
LEAST = 8  # minimum number of images per class


@dataclass(frozen=True)
class AuditResult:
    """Result of an audit.

    Attributes:
        images: number of images examined.
        classes: number of labels.
        scores: by detector; larger is more like protection.
        above: detectors above their own threshold.
        suspicion: combined score, 0 to 1.
        protected: whether the suspicion is above the threshold; None if undecided.
        family: most likely kind of protection.
        sure: probability of that kind, given that the set is protected by a known one.
        false_alarms: false-alarm rate of the calibration.
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
    why_open: str = ""


def scored(data: Data, *, seed: int = 0) -> Iterator[tuple[str, float]]:
    """Yield the score of every detector on a labeled set of small images.

    Args:
        data: images with target ``label``.
        seed: of the split and of training.

    Raises:
        UsageError: if there is only one class, or a class has too few images.
    """
    counts = data.targets["label"].bincount()
    if len(counts) < 2 or int(counts.min()) < LEAST:
        raise UsageError(f"an audit needs at least two classes with at least {LEAST} images each.")
    sample = Sample.of(data, seed=seed)
    for name, detector in DETECTORS.items():
        yield name, detector(sample)


def audit(
    data: Data, *, seed: int = 0, labeled: bool = True, calibration: Calibration | None = None
) -> Generator[Progress, None, AuditResult]:
    """Test a labeled set of small images, preferably 32×32, for protection; yields progress, returns the finding.

    Args:
        data: images with target ``label``; at most ``MOST`` are examined.
        seed: of the split and of training.
        labeled: whether labels are given; False if they are clusters.
        calibration: None takes the one shipped with the package.

    Raises:
        UsageError: if there is only one class, or a class has too few images.
    """
    known: Calibration = calibration or calibrated()
    why_open = _why_open(data, labeled=labeled)
    scores: dict[str, float] = {}
    for name, score in scored(data, seed=seed):
        scores[name] = score
        yield Progress(len(scores), len(DETECTORS), name)
    suspicion = known.suspicion(scores)
    family, sure = known.family(scores)
    return AuditResult(
        images=min(len(data), MOST),
        classes=len(data.targets["label"].unique()),
        scores=scores,
        above=[name for name, score in scores.items() if score > known.thresholds[name]],
        suspicion=suspicion,
        protected=None if why_open else suspicion > known.threshold,
        family=family,
        sure=sure,
        false_alarms=known.false_alarms,
        why_open=why_open,
    )


def _why_open(data: Data, *, labeled: bool) -> str:
    """Return why the calibration does not apply to these images; empty if it does."""
    if not labeled:
        return (
            "labels are unknown, and common content of a cluster looks like class-wise noise. Sort the images into "
            "subfolders, or give --labels FILE.csv."
        )
    if len(data) < FEWEST:
        return (
            f"{len(data)} images are too few: the calibration used sets of {FEWEST} to {MOST}, and scores of smaller "
            f"sets vary more. Give at least {FEWEST} images."
        )
    low, high = CALIBRATED
    height, width = data.shape[1:]
    if not (low <= height <= high and low <= width <= high):
        return (
            f"images of {height}×{width} are outside the calibration, which used {low}×{low} and {high}×{high}: clean "
            "digits of 8×8 score like protected images. Give images of that size, or larger ones with --size 32."
        )
    return ""
