"""Schemas of the rows of a benchmark."""

from typing import Literal

from howfar.schemas.part import Count, Part, Seeds, Share


class BenchRow(Part):
    """One protector against one victim and defense."""

    dataset: str
    """Label of the data set."""
    task: str
    """Label of the task that the victim learned."""
    model: str
    """Label of the victim network."""
    defense: str
    """Label of the learner's defense; `none` without one."""
    protector: str
    """Label of the protector; `clean` for the clean images."""
    metric: str
    """Name of the quality: a share of 1 (accuracy, mIoU), or an error in its own unit."""
    clean: float
    """Mean quality on clean test images of the victims of clean images."""
    poisoned: float
    """Mean quality on clean test images of the victims of protected images."""
    drop: float
    """Clean − poisoned, paired by seed, in the unit of the metric: 0.25 of an accuracy or mIoU is 25 points; poisoned −
    clean if lower is better."""
    drop_low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    drop_high: float | None
    """Upper end."""
    ud: float | None
    """Unlearnable distance, mean over seeds; null if SAL was not measured or no layer of the clean victim is
    learnable."""
    ud_low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    ud_high: float | None
    """Upper end."""
    ud_probe_error: float | None
    """Standard error of UD from the choice of probe images; null without UD."""
    beta: float | None
    """Threshold on SAL, nats; null without UD."""
    alignment: float | None
    """Learning alignment, −1 to 1, mean over seeds; null if it was not measured."""
    alignment_low: float | None
    """Lower end of its 95 % interval over seeds; null with one seed."""
    alignment_high: float | None
    """Upper end."""
    linf: Count | None
    """Largest change of any value after rounding, in 1/255; null if the protected set's record is missing."""
    l2: float | None
    """Mean L2 norm of the change, images in [0, 1]."""
    l0: Share | None
    """Mean share of pixels that changed."""
    psnr: float | None
    """PSNR in dB; null if nothing changed or it was not measured."""
    ssim: float | None
    """SSIM; null for images with a side below 11 pixels, or if it was not measured."""
    needs_labels: bool | None
    """Whether the protector needs targets; null if the protected set's record is missing."""
    seeds: Seeds
    """Number of seeds with both a clean and a poisoned victim."""


class CellRow(BenchRow):
    """The same with verdict, settings, versions and device."""

    drop: float | None  # type: ignore[assignment]  # null is possible in cells alone
    """Clean − poisoned, paired by seed, in the unit of the metric: 0.25 of an accuracy or mIoU is 25 points; poisoned −
    clean if lower is better; null if the clean victims did not learn."""
    ud: float | None
    """Unlearnable distance, mean over seeds; null if SAL was not measured, no layer of the clean victim is learnable,
    or the clean victims did not learn."""
    learned: bool
    """Whether the clean victims learned enough to compare with: 10 points of a share, 5 of mIoU, or 10 % of the error
    at chance; if not, drop, UD and retention are null."""
    verdict: Literal["holds", "does not hold", "cannot tell"] | None
    """Whether the protector holds against the victim, over all defenses tried; null for clean images, and for joint
    tasks, whose parts are judged."""
    retention: float | None
    """What that verdict rests on: (protected − chance) ÷ (clean − chance) with the learner's best defense; null without
    a verdict, or if the clean images were not learned."""
    retention_low: float | None
    """Lower end of its 98 % interval over seeds and test images; null if there is none."""
    retention_high: float | None
    """Upper end."""
    retention_defense: str | None
    """Label of that defense; null without a verdict."""
    source_task: str | None
    """Label of the task that the protection was crafted against; null if the protector uses no targets."""
    protector_settings: str
    """All settings of the protector, as JSON text."""
    recipe: str
    """All settings of training, as JSON text."""
    probe: str | None
    """All settings of SAL, as JSON text; null if it was not measured."""
    higher_is_better: bool
    """Direction of the quality."""
    chance: float
    """Quality of the best image-independent baseline, in the unit of the metric."""
    train_images: Count
    """Number of training images."""
    test_images: Count
    """Number of test images."""
    data: str
    """Digest of the clean training images and their targets."""
    test: str
    """Digest of the clean test images and their targets."""
    protector_version: int
    """Version of the protector's algorithm."""
    source_task_version: int | None
    """Version of the source task; null if the protector uses no targets."""
    task_version: int
    """Version of the task."""
    model_version: int
    """Version of the network."""
    defense_version: str
    """Version of the defense; of a chain such as `gray+cutout`, the versions of its parts: `1+1`."""
    training_version: int | None
    """Version of the training loop; null if unknown."""
    sal_version: int | None
    """Version of SAL; null if it was not measured."""
    ud_version: int | None
    """Version of UD; null if SAL was not measured."""
    alignment_version: int | None
    """Version of learning alignment; null if it was not measured."""
    howfar: str | None
    """Version of howfar that trained the victims, several with commas; null for older records."""
    torch: str | None
    """Version of PyTorch, several with commas."""
    device: str | None
    """`cpu`, `mps` or the name of the GPU, several with commas."""


class VictimRow(Part):
    """One finished victim."""

    key: str
    """Key of the victim in the store."""
    dataset: str
    """Label of the data set."""
    protector: str
    """Label of the protector; `clean` for the clean images."""
    source_task: str
    """Name of the task that the protection was crafted against."""
    task: str
    """Label of the task that the victim learned."""
    defense: str
    """Label of the learner's defense; `none` without one."""
    model: str
    """Label of the victim network."""
    seed: int
    """Seed of the noise, the initial weights and the batches."""
    metric: str
    """Name of the quality: a share of 1 (accuracy, mIoU), or an error in its own unit."""
    quality: float
    """Quality on clean test images."""
    chance: float
    """Quality of the best image-independent baseline."""
    higher_is_better: bool
    """Direction of the quality."""
    validation: float | None
    """Quality on held-out clean images; null if there are none."""
    train_images: Count
    """Number of training images."""
    test_images: Count
    """Number of test images."""
    epochs: Count
    """Training epochs."""
    wall_seconds: float
    """Wall time of training and measuring."""
    device: str
    """`cpu`, `mps` or the name of the GPU."""
    torch: str
    """Version of PyTorch."""
    data: str
    """Digest of the clean training images and their targets."""
    protector_version: int | None
    """Version of the protector's algorithm; null if unknown."""
    task_version: int | None
    """Version of the task; null if unknown."""
    model_version: int | None
    """Version of the network; null if unknown."""
