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
from howfar.protect import Progress

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
CALIBRATED = 28, 32  # sides of the images that the calibration was made with, pixels
FEWEST = 500  # images of the smallest sets that the calibration was made with
LEAST = 8  # images a class


@dataclass(frozen=True)
class AuditResult:
    """What the detectors say of a data set.

    Attributes:
        images: looked at.
        classes: number of labels.
        scores: by detector; larger is more like protection.
        above: detectors that alone would call it protected.
        suspicion: of all together, 0 to 1.
        protected: whether the suspicion is above the threshold; None is no verdict.
        family: which kind of protection it looks most like.
        sure: probability of that family, given that it is protected by one that is known.
        false_alarms: how often clean sets are called protected, by the calibration.
        why_open: why there is no verdict, and what would give one; empty where there is one.
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
    """Yield the score of every detector on a labelled set of small images of one size.

    Args:
        data: images with a ``label`` each.
        seed: of the halves and of training.

    Raises:
        UsageError: if there is one class, or too few images of one.
    """
    counts = data.targets["label"].bincount()
    if len(counts) < 2 or int(counts.min()) < LEAST:
        raise UsageError(f"an audit needs two classes or more with at least {LEAST} images each.")
    sample = Sample.of(data, seed=seed)
    for name, detector in DETECTORS.items():
        yield name, detector(sample)


def audit(
    data: Data, *, seed: int = 0, labelled: bool = True, calibration: Calibration | None = None
) -> Generator[Progress, None, AuditResult]:
    """Look for protection in a labelled set of small images, 32×32 best; yields progress, returns the finding.

    Args:
        data: images with a ``label`` each; at most ``MOST`` are looked at.
        seed: of the halves and of training.
        labelled: whether labels are known; False if clusters stand in for them.
        calibration: what scores mean; None takes the one that comes with the package.

    Raises:
        UsageError: if there is one class, or too few images of one.
    """
    known: Calibration = calibration or calibrated()
    why_open = _why_open(data, labelled=labelled)
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


def _why_open(data: Data, *, labelled: bool) -> str:
    """Return why the calibration says nothing of these images; empty where it does."""
    if not labelled:
        return (
            "labels are not known, and what pictures of a cluster share looks like noise that a class shares. Sort the "
            "images into subfolders, or give --labels FILE.csv."
        )
    if len(data) < FEWEST:
        return (
            f"{len(data)} images are too few: the calibration was made with sets of {FEWEST} to {MOST}, and scores of "
            f"smaller ones scatter more. Give {FEWEST} images or more."
        )
    low, high = CALIBRATED
    height, width = data.shape[1:]
    if not (low <= height <= high and low <= width <= high):
        return (
            f"images of {height}×{width} lie outside the calibration, which was made at {low}×{low} and {high}×{high}: "
            "clean digits of 8×8 score like protected images. Give images of that size or larger ones, at --size 32."
        )
    return ""
