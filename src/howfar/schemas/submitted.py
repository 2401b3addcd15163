"""A row of a public leaderboard, as ``howfar.tables.entry`` writes it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from howfar.schemas.part import Count, Part


class SeedResults(Part):
    """Results of every seed under one defense."""

    seeds: list[int]
    """Seeds."""
    clean: list[float]
    """Quality on clean test images of the victims of clean images, one per seed."""
    protected: list[float]
    """The same of the victims of protected images."""
    validation: Annotated[list[list[float]], Field(min_length=2, max_length=2)] | None
    """Both on clean validation images, by which a defense is chosen; null if none were held out."""


class Published(Part):
    """What others report."""

    quality: float
    """Quality without defense after training on protected images."""
    source: str
    """Paper or table."""


class RowUd(Part):
    """UD without defense."""

    value: float
    """Mean over seeds."""
    low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    high: float | None
    """Upper end."""
    beta: float
    """Threshold on SAL, nats."""
    probe_error: float
    """Standard error from the choice of probe images."""


class Summary(Part):
    """What follows from the runs."""

    drop: float = 0
    """Drop without defense; missing if no learner was without defense."""
    drop_low: float | None = None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    drop_high: float | None = None
    """Upper end."""
    kept: float | None = 0
    """Retention under the best defense; missing if no images were held out to choose it by."""
    kept_low: float | None = None
    """Lower end of its interval."""
    kept_high: float | None = None
    """Upper end."""
    worst_quality: float = 0
    """Quality under the best defense."""
    worst_defense: str = ""
    """The best defense."""
    tried: Count = 0
    """Number of defenses."""


class Versions(Part):
    """Versions of algorithms."""

    task: int
    """Of the target task."""
    source_task: int
    """Of the source task."""
    model: int
    """Of the network."""


class RowMade(Part):
    """Versions and device."""

    torch: str
    """Version of PyTorch."""
    python: str
    """Version of Python."""
    system: str
    """Operating system."""
    machine: str
    """Architecture of the processor."""
    device: str
    """`cpu`, `mps` or the name of the GPU."""


class LeaderboardRow(Part):
    """One protector against one victim, under every defense that was tried."""

    format: Literal["howfar-row-3"]
    """Name and version of the format."""
    protector: str
    """Label of the protector."""
    dataset: str
    """Label of the data set."""
    data: str
    """Digest of the clean training images and their targets."""
    test: str
    """Digest of the clean test images and their targets."""
    task: str
    """Label of the task; `a of joint:a+b` is a part of a joint task."""
    model: str
    """Label of the victim network."""
    versions: Versions
    """Versions of the algorithms behind these names."""
    metric: str
    """Name of the quality."""
    higher_is_better: bool
    """Direction of the quality."""
    chance: float
    """Quality of the best image-independent baseline."""
    train_images: Count
    """Number of training images."""
    test_images: Count
    """Number of test images."""
    recipe: dict[str, Any]
    """Settings of training, with the version of the training loop."""
    settings: dict[str, Any]
    """All settings of the protector, with its name and version."""
    norm: str
    """Norm that bounds the change; empty if the protected set's record is missing."""
    visibility: dict[Literal["linf", "l2", "l0", "psnr", "ssim", "version"], float | None]
    """Size of the change, as in `protected`; empty if the protected set's record is missing."""
    needs_labels: bool
    """Whether the protector needs targets."""
    runs: dict[str, SeedResults]
    """Results by label of the defense."""
    ud: RowUd | None
    """Unlearnable distance without defense; null if it was not measured or is undefined."""
    made: RowMade
    """Versions and device."""
    commands: list[str]
    """Command lines that asked for the runs."""
    reported: Published | None
    """What others report; null if nothing was given."""
    spread: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    """Variance of the drop between seeds, pooled over the rows of the victim, and its degrees of freedom; null if there
    are no other rows."""
    summary: Summary
    """What follows from the runs; `howfar validate` checks it."""
    unreliable: list[str]
    """Why the row is unreliable; empty if it is not."""
