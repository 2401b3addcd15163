"""A row of the leaderboard: one protector against one victim and defense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from howfar.score import Estimate, to_json
from howfar.score.estimate import DECIMALS, under
from howfar.tables.distances import Ud
from howfar.tables.verdicts import Verdict

ABOUT = ("dataset", "task", "model", "defense", "protector", "metric", "clean", "poisoned")
REST = ("linf", "l2", "l0", "psnr", "ssim", "needs_labels", "seeds")
JUDGED = ("verdict", *under("retention"), "retention_defense")  # of the protector and victim, over all defenses
COLUMNS = (*ABOUT, *under("drop"), *under("ud"), "ud_probe_error", "beta", *under("alignment"), *REST)  # of files


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
        ud: unlearnable distance, its interval cut at 0; None where no layer of the clean model is learnable.
        alignment: learning alignment, −1 to 1, mean over seeds, its interval cut there; None where it was not measured.
        linf: largest change after rounding, in 1/255.
        l2: mean L2 norm of the change, images in [0, 1].
        l0: mean share of pixels changed.
        psnr: dB; None where nothing changed (``linf`` is 0), and where it was not measured.
        ssim: structural similarity; None for images smaller than its window, and where it was not measured.
        needs_labels: whether the protector must know the classes.
        origin: settings, versions and device, which only rows of cells hold; see ``howfar.tables.cells``.
        verdict: on the protector and victim, over all defenses; None for clean images and for joint tasks, whose parts
            are judged.
        learned: whether the clean victims learned enough to compare with; if not, drop and UD mean nothing and are
            not shown.
    """

    dataset: str
    task: str
    model: str
    defense: str
    protector: str
    metric: str
    clean: float
    poisoned: float
    drop: Estimate
    ud: Ud | None
    alignment: Estimate | None
    linf: int | None
    l2: float | None
    l0: float | None
    psnr: float | None
    ssim: float | None
    needs_labels: bool | None
    origin: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    learned: bool = True

    @property
    def seeds(self) -> int:
        """Number of pairs."""
        return self.drop.n

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold, in their order."""
        found = dict.fromkeys(COLUMNS) | {name: getattr(self, name) for name in (*ABOUT, *REST)}
        ud = self.ud.mean if self.ud else None
        for name, estimate in (("drop", self.drop), ("ud", ud), ("alignment", self.alignment)):
            found |= to_json(estimate, names=under(name)) if estimate else {}
        found |= {"ud_probe_error": self.ud.probe_error, "beta": self.ud.beta} if self.ud else {}
        written: dict[str, Any] = to_json(found, DECIMALS)
        return written

    def as_cell(self) -> dict[str, Any]:
        """Return the same values followed by verdict, settings, versions and device; None for what means nothing."""
        judged: dict[str, Any] = {"learned": self.learned, **dict.fromkeys(JUDGED)}
        if self.verdict:
            kept = self.verdict.decision.retention
            judged |= {"verdict": self.verdict.decision.outcome, "retention_defense": self.verdict.defense}
            judged |= to_json(kept, DECIMALS, under("retention")) if kept else {}
        unknown = {} if self.learned else dict.fromkeys((*under("drop"), *under("ud"), *under("retention")))
        return {**self.as_dict(), **judged, **unknown, **to_json(self.origin, DECIMALS)}
