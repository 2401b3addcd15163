"""A row of the leaderboard: one protector against one victim and defense."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One protector against one victim and defense.

    Attributes:
        dataset: label of the data.
        task: what the victim learned.
        model: the victim.
        defense: what the learner did against protection.
        protector: who changed the training data.
        metric: name of the quality.
        clean: mean quality of the clean models on clean test images.
        poisoned: mean quality of the poisoned models on clean test images.
        drop: clean − poisoned, paired by seed.
        drop_low: lower end of its 95 % interval over seeds; None with a single seed.
        drop_high: upper end.
        ud: unlearnable distance; None where no layer of the clean model is learnable.
        ud_low: lower end of its 95 % interval over seeds; None with a single seed.
        ud_high: upper end.
        ud_probe_error: standard error of UD that comes from the choice of probe images.
        beta: threshold on SAL, nats.
        alignment: learning alignment, −1 to 1, mean over seeds; None where it was not measured.
        alignment_low: lower end of its 95 % interval over seeds; None with a single seed.
        alignment_high: upper end.
        linf: largest change after rounding, in 1/255.
        l2: mean L2 norm of the change, images in [0, 1].
        l0: mean share of pixels changed.
        psnr: dB; None where nothing changed (``linf`` is 0), and where it was not measured.
        ssim: structural similarity; None for images smaller than its window, and where it was not measured.
        needs_labels: whether the protector must know the classes.
        seeds: number of pairs.
    """

    dataset: str
    task: str
    model: str
    defense: str
    protector: str
    metric: str
    clean: float
    poisoned: float
    drop: float
    drop_low: float | None
    drop_high: float | None
    ud: float | None
    ud_low: float | None
    ud_high: float | None
    ud_probe_error: float | None
    beta: float | None
    alignment: float | None
    alignment_low: float | None
    alignment_high: float | None
    linf: int | None
    l2: float | None
    l0: float | None
    psnr: float | None
    ssim: float | None
    needs_labels: bool | None
    seeds: int
