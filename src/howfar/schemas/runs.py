"""Plans and progress of runs."""

from howfar.schemas.part import Count, Part, Share


class PlannedStep(Part):
    """A step to do."""

    step: str
    """What it protects, or which victim it trains."""
    key: str
    """Key of its record in the store."""
    seconds: float
    """Expected wall time of one worker."""


class PlannedMaps(Part):
    """Loss landscapes or curvatures that are computed after the steps."""

    count: Count
    """Number of them."""
    seconds: float
    """Expected wall time."""


class Plan(Part):
    """What a run would do."""

    todo: list[PlannedStep]
    """Steps that the store lacks."""
    ready: Count
    """Number of steps that the store has."""
    workers: Count
    """Steps at a time; 0 runs all in one process."""
    seconds: float
    """Expected wall time on idle cores."""
    core_hours: float
    """Expected hours of one core."""
    maps: PlannedMaps
    """What is computed after the steps."""
    data: str
    """Sentence on the number and size of the images."""
    notes: list[str]
    """Sentences on what is estimated or unknown."""


class RunningStep(Part):
    """A step that is running."""

    step: str
    """What it protects, or which victim it trains."""
    host: str
    """Name of the machine."""
    pid: int
    """Process on it."""
    share: Share
    """Share of the work that is done."""
    note: str
    """What the step says of its progress; may be empty."""


class Watch(Part):
    """Progress of other runs of a grid."""

    running: list[RunningStep]
    """Steps that are running."""
    left: list[str]
    """Steps that are not finished, those that run included."""
    total: Count
    """Number of steps."""
    failed: dict[str, str]
    """Errors of failed steps, by key."""
    seconds: float
    """Expected time until all is finished, by as many workers as are busy now."""
