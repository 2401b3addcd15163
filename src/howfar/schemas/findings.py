"""Schemas of findings: UD, audits and verifications."""

from typing import Annotated, Literal

from pydantic import Field

from howfar.schemas.part import Count, Part, Seeds, Share, Visibility


class UdFinding(Part):
    """UD of two runs."""

    value: float
    """UD: learnable layers of the poisoned ÷ of the clean victim, mean over seeds."""
    low: float | None
    """Lower end of its interval over seeds, at the level of `--confidence`; null with one seed."""
    high: float | None
    """Upper end."""
    beta: float
    """Threshold on SAL, nats."""
    probe_error: float
    """Standard error of UD from the choice of probe images."""
    values: list[float]
    """UD of every seed."""
    clean_layers: list[float]
    """Learnable layers of the clean victim, one number per epoch, mean over seeds."""
    poisoned_layers: list[float]
    """The same of the poisoned victim."""
    clean_margins: list[dict[str, float]]
    """SAL − β of every layer of the clean victim, nats, one object per epoch; mean over seeds."""
    poisoned_margins: list[dict[str, float]]
    """The same of the poisoned victim."""
    clean: float
    """Mean quality of the clean victims on clean test images."""
    poisoned: float
    """Mean quality of the poisoned victims on clean test images."""
    drop: float
    """Clean − poisoned; poisoned − clean if lower is better."""


class Bands(Part):
    """Shares of energy."""

    low: float | None
    """Up to 1/8 cycle per pixel, the mean included; null if nothing changed."""
    middle: float | None
    """1/8 to 1/4."""
    high: float | None
    """1/4 and above."""


class Change(Part):
    """Difference of suspect images from their originals."""

    changed: Share
    """Share of images that differ."""
    budget: Visibility
    """Size of the change over all images."""
    by_class: dict[str, float]
    """Mean L2 norm of the change by number of the label, images in [0, 1]."""
    largest: Annotated[list[Count], Field(min_length=3, max_length=3)]
    """Minimum, median and maximum of L∞ over changed images, in 1/255."""
    bands: Bands
    """Share of the energy of the change in each band of frequencies."""
    shared: float | None
    """Near 1 for class-wise noise, near 0 for sample-wise noise; null if undefined."""


class AuditFinding(Part):
    """Verdict on a data set."""

    images: Count
    """Images examined."""
    classes: Count
    """Number of labels examined."""
    scores: dict[str, float]
    """Score of every detector; larger is more like protection. Empty if there was nothing to examine."""
    above: list[str]
    """Detectors above their own threshold."""
    suspicion: Annotated[float, Field(ge=0)]
    """Combined score ÷ its limit; above 1, the set looks protected."""
    protected: bool | None
    """Verdict; null if undecided."""
    family: str
    """Most likely kind of protection."""
    sure: Share
    """Probability of that kind, if the set is protected by a known one."""
    false_alarms: Share
    """Upper bound on the rate of false alarms, for clean sets like those of a calibration source."""
    clean_sets: Count
    """Clean and noisy sets of every calibration source behind this bound."""
    power: Share
    """Share of protected calibration sets of about this size that are found."""
    why_open: str
    """Why the verdict is undecided, and how to get one; empty if decided."""
    labeled: bool
    """Whether labels were given; otherwise they are clusters."""
    difference: Change | None
    """Difference from the originals; null without `--reference`."""


class Retention(Part):
    """Share that is left."""

    value: float | None
    """(Protected − chance) ÷ (clean − chance); null if undefined."""
    low: float | None
    """Lower end of its 98 % interval over seeds; null if there is none."""
    high: float | None
    """Upper end."""
    seeds: Seeds
    """Number of seeds."""


class Loss(Part):
    """What learners lose."""

    task: str
    """Label of the task."""
    way: str
    """What happens to the photographs before training, or the protected share, such as `50%`."""
    learner: Literal["from scratch", "fine-tuned"]
    """How the learner begins: fine-tuned from a network that was pretrained on other photographs, or not."""
    metric: str
    """Name of the quality."""
    chance: float
    """Quality of the best image-independent baseline."""
    clean: float
    """Mean quality after training on the originals."""
    protected: float
    """Mean quality after training on the protected copies."""
    value: float
    """Drop: clean − protected, paired by seed; protected − clean if lower is better."""
    low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    high: float | None
    """Upper end."""
    retention: Retention | None
    """Retention; null if the originals were not learned."""
    seeds: Seeds
    """Number of seeds."""
    test_images: Count
    """Photographs that the networks were tested with."""
    outcome: Literal["holds", "does not hold", "cannot tell"]
    """Whether the protection holds."""


class Verification(Part):
    """Verdict on the protection of photographs."""

    verdict: list[str]
    """Sentences, the most important one first."""
    losses: list[Loss]
    """Losses without defense: classification of the photographs as they are, other ways, shares, other tasks. Empty if
    the photographs were too few to train on."""
    required: list[str]
    """One sentence per `--require`, which says whether it is met."""
