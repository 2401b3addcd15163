"""Tables of a benchmark besides its rows: worst cases, tasks, costs, ablations."""

from typing import Annotated, Literal

from pydantic import Field

from howfar.schemas.part import Count, Part, Seeds

Pair = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Best(Part):
    """What the best of several defenses gets."""

    defense: str
    """Label of the defense that does best on held-out clean images."""
    quality: float
    """Its mean quality on clean test images over seeds."""
    low: float | None
    """Lower end of its 95 % interval, which allows for the choice; null with one seed."""
    high: float | None
    """Upper end."""
    tried: Count
    """Number of defenses tried."""
    seeds: Seeds
    """Number of seeds."""


class WorstCase(Part):
    """What is left of one protection when the learner chooses its defense."""

    clean: Best
    """What the learner gets from the clean images."""
    poisoned: Best
    """What the learner gets from the protected images."""
    kept: float
    """Protection kept: (clean − poisoned) ÷ (clean − chance)."""
    low: float | None
    """Lower end of its 95 % interval; null if there is none."""
    high: float | None
    """Upper end."""


class WorstCaseTable(Part):
    """One victim that met several defenses."""

    dataset: str
    """Label of the data set."""
    task: str
    """Label of the task that the victim learned."""
    model: str
    """Label of the victim network."""
    metric: str
    """Name of the quality: a share of 1 (accuracy, mIoU), or an error in its own unit."""
    chance: float
    """Quality of the best image-independent baseline."""
    defenses: list[str]
    """Labels of the defenses, in the order of the table."""
    quality: dict[str, dict[str, float]]
    """Mean quality on clean test images over seeds, by protector and defense."""
    worst: dict[str, WorstCase]
    """Worst case by protector; empty if no images were held out to choose a defense by."""


class TaskColumn(Part):
    """One task."""

    name: str
    """Label of the task."""
    metric: str
    """Name of its quality."""
    chance: float
    """Quality of the best image-independent baseline."""
    higher_is_better: bool
    """Direction of the quality."""


class TaskRetention(Part):
    """Share that is left."""

    value: float
    """(Protected − chance) ÷ (clean − chance)."""
    low: float | None
    """Lower end of its 95 % interval over seeds; null if there is none."""
    high: float | None
    """Upper end."""
    seeds: Seeds
    """Number of seeds."""


class TaskUd(Part):
    """UD of one task."""

    value: float
    """Unlearnable distance, mean over seeds."""
    low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    high: float | None
    """Upper end."""
    probe_error: float
    """Standard error from the choice of probe images."""


class TaskCell(Part):
    """One protector and one task."""

    clean: float
    """Mean quality after training on clean images."""
    protected: float
    """Mean quality after training on protected images."""
    retention: TaskRetention
    """What is retained."""
    sal: float | None
    """Cosine between the SALs of the backbone's layers after clean and after protected training; null if unknown."""
    ud: TaskUd | None
    """UD; null if it was not measured."""


class TaskSummary(Part):
    """A protector over the tasks that it was not crafted against."""

    mean: float
    """Mean retention; a task below chance counts as 0."""
    worst: float
    """Largest retention."""
    task: str
    """Label of the task with the largest retention."""
    score: float
    """Cross-task score: 1 − the largest retention."""
    own: float | None
    """Largest retention of the tasks that it was crafted against; null if none of them was learned."""


class TaskTable(Part):
    """What every task learns from every protected set, for one victim and defense."""

    dataset: str
    """Label of the data set."""
    model: str
    """Label of the victim network."""
    defense: str
    """Label of the learner's defense; `none` without one."""
    columns: list[TaskColumn]
    """The tasks."""
    cells: dict[str, dict[str, TaskCell]]
    """Results by protector and task."""
    summaries: dict[str, TaskSummary]
    """Summary by protector."""
    seeds: Annotated[list[Count], Field(min_length=2, max_length=2)]
    """Smallest and largest number of seeds of a result."""
    alike: dict[str, list[list[float]]]
    """Cosine between the SALs of two tasks, by protector; tasks that were learned alone, in their order. Empty if each
    task has a network of its own; 0 if SAL was not measured."""


class CraftingCost(Part):
    """Time to protect an image."""

    seconds_per_image: float
    """Wall time of crafting alone, mean over seeds."""
    interval: Pair
    """Ends of its 95 % interval over seeds; null with one seed."""


class VictimCost(Part):
    """Time to train a victim."""

    seconds: float
    """Wall time of training and measuring, mean over seeds."""


class CostTable(Part):
    """What was measured about the machine."""

    circumstances: dict[str, str]
    """Device, versions and threads."""
    protectors: dict[str, CraftingCost]
    """Cost by data set and protector."""
    victims: dict[str, VictimCost]
    """Cost by data set, network, defense and protector."""


class AblationRank(Part):
    """Rank correlation of UD and drop over protectors."""

    value: float | None
    """The correlation; null if it is undefined."""
    low: float | None
    """Lower end of its 95 % interval; null with fewer than 8 protectors."""
    high: float | None
    """Upper end."""
    monotone: bool
    """Whether UD falls at every step of the drop."""


class AblationRow(Part):
    """UD by one way to measure it."""

    probe: str
    """Settings of SAL."""
    rule: Literal["per-epoch", "pooled", "counting parameters", "k-means, random start", "SAL ÷ training loss"]
    """How β and UD follow from SAL."""
    ud: dict[str, float]
    """UD by protector, mean over seeds."""
    low: dict[str, float | None]
    """Lower end of its 95 % interval over seeds, by protector; null with one seed."""
    high: dict[str, float | None]
    """Upper end."""
    starts: dict[str, Pair]
    """Smallest and largest UD over random starts, by protector; empty for other rules."""
    correlation: AblationRank | None
    """Rank correlation of UD with the drop; null for fewer than three protectors."""
    moved: float
    """Largest difference of UD from the first way to measure it."""
    close: Count
    """Number of pairs of protector and seed whose UD differs by at most 0.03 from the first way."""
    pairs: Count
    """Number of pairs of protector and seed."""


class ComparedRow(Part):
    """One protector compared with another one on the same test images."""

    dataset: str
    """Label of the data set."""
    task: str
    """Label of the task that the victims learned."""
    model: str
    """Label of the victim network."""
    defense: str
    """Label of the learner's defense; `none` without one."""
    protector: str
    """Label of the protector; `clean` for the clean images."""
    difference: float
    """Test accuracy of its victims − that of the victims of the other protector, mean over seeds."""
    difference_low: float
    """Lower end of its 95 % interval over seeds and test images; with one seed, over test images."""
    difference_high: float
    """Upper end."""
    p: float
    """p-value of the hypothesis that there is no difference."""
    adjusted_p: float
    """The same, adjusted for all rows of the comparison (Benjamini and Hochberg)."""
    disagreement: float
    """Share of test images that one of both victims classifies correctly and the other does not."""
    detectable: float
    """Minimum detectable effect: the true difference that is found with a probability of 80 %."""
    seeds: Seeds
    """Number of seeds."""
    test_images: Count
    """Number of test images."""
