"""``howfar audit``: is a data set protected by somebody?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from howfar import terminal
from howfar.commands.common import Common
from howfar.commands.verify import UNMET
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.audit import AuditResult, Difference


@dataclass(kw_only=True)
class Audit(Common):
    """Look for protection in a data set: detectors, calibrated on sets known to be clean, noisy or protected.

    With the originals at hand (--reference), the change itself is analysed too.
    """

    suspect: Positional[str]
    """A folder of images, an .npz, or a data set such as cifar10."""
    reference: str | None = None
    """The originals, under the same names or in the same order."""
    labels: str | None = None
    """What the images of a folder show, if not by subfolders: a CSV with name and label in every line."""
    size: int = 32
    """Side in pixels at which images are looked at; the calibration was made at 32."""
    seed: int = 0
    """Of the images that are chosen, and of training."""
    require: Literal["clean", "protected"] | None = None
    """Exit with 4 unless the verdict is this."""
    json: bool = False
    """Print as JSON."""

    def __call__(self) -> int:
        from howfar.audit import audit, difference
        from howfar.data.tree import summary, unlabeled
        from howfar.photos.suspects import matched, suspects

        if not 16 <= self.size <= 256:
            raise UsageError(f"--size {self.size} makes no sense. Take 32.")
        labels = Path(self.labels) if self.labels else None
        found = suspects(self.suspect, size=self.size, labels=labels, seed=self.seed)
        for sentence in (summary(found.left_out), unlabeled(found.names) if labels is None else ""):
            if sentence:
                terminal.say(sentence)
        change = None
        if self.reference is not None:
            originals = suspects(self.reference, size=self.size, seed=self.seed)
            change = difference(*matched(originals, found))
        finding = terminal.watch(audit(found.data, seed=self.seed, labeled=found.labeled), "audit")
        if self.json:
            changed = {**asdict(change), "budget": change.budget.record()} if change else None
            about = {"labelled": found.labeled, "difference": changed}
            terminal.show_json({**asdict(finding), **about})
        else:
            self._tell(finding, change)
        met = self.require is None or finding.protected is (self.require == "protected")
        return 0 if met else UNMET

    def _tell(self, finding: "AuditResult", change: "Difference | None") -> None:
        from howfar.audit.sentences import changes, sentences

        for sentence in sentences(finding):
            terminal.out(sentence)
        rows = [
            [name, f"{score:.3f}", "yes" if name in finding.above else "–"] for name, score in finding.scores.items()
        ]
        terminal.show_table(["detector", "score", "above its threshold"], rows)
        if change is not None:
            for sentence in changes(change):
                terminal.out(sentence)
