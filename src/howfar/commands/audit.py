"""``howfar audit``: is a data set protected?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional

from howfar.commands import progress, terminal
from howfar.commands.common import Common, Flag, option
from howfar.commands.verify import UNMET
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.audit import AuditResult, Difference


@dataclass(kw_only=True)
class Audit(Common):
    """Detect whether a data set is protected.

    Runs detectors that were calibrated on clean, noisy and protected sets of 30 to 500 images; of larger sets, a part
    is examined. The verdict is "cannot tell" outside the calibration, and where nothing was found but the images are
    too few to rule protection out. With the originals (--reference), it also analyzes the perturbation itself.
    """

    examples: ClassVar = ("howfar audit suspect", "howfar audit suspect --reference photos")

    suspect: Annotated[Positional[str], option("DATA")]
    """Folder of images, .npz file, or data set such as cifar10."""
    reference: Annotated[str | None, option("DATA", "")] = None
    """Original images, with the same file names or in the same order."""
    labels: Annotated[str | None, option("FILE", "the subfolders")] = None
    """Labels of a folder's images: a CSV file with one name and label per line."""
    size: Annotated[int, option("PIXELS")] = 32
    """Side length to which images are resized. The detectors were calibrated at 32."""
    seed: Annotated[int, option("N")] = 0
    """Seed of the sampled images and of training."""
    require: Annotated[Literal["clean", "protected"] | None, option("{clean,protected}", "")] = None
    """Exit with code 4 unless this is the verdict."""
    json: Flag = False
    """Print JSON instead of tables."""

    def __call__(self) -> int:
        from howfar.audit import audit, difference
        from howfar.audit.sentences import left_out
        from howfar.data.tree import summary, unlabeled
        from howfar.photos.suspects import matched, suspects

        if not 16 <= self.size <= 256:
            raise UsageError(f"--size {self.size} is out of range. Take 32.")
        labels = Path(self.labels) if self.labels else None
        found = suspects(self.suspect, size=self.size, labels=labels, seed=self.seed)
        for sentence in (summary(found.left_out), unlabeled(found.names) if labels is None else ""):
            if sentence:
                terminal.say(sentence)
        change = None
        if self.reference is not None:
            originals = suspects(self.reference, size=self.size, seed=self.seed)
            change = difference(*matched(originals, found))
        finding = progress.watch(audit(found.data, seed=self.seed, labeled=found.labeled), "audit")
        if self.json:
            changed = {**asdict(change), "budget": change.budget.record()} if change else None
            about = {"labeled": found.labeled, "difference": changed}
            terminal.show_json({**asdict(finding), **about})
        else:
            classes = len(found.data.targets["label"].unique()) if found.labeled else None
            examined = left_out(finding, len(found.data), classes)
            if examined:
                terminal.say(examined)
            self._tell(finding, change)
        met = self.require is None or finding.protected is (self.require == "protected")
        return 0 if met else UNMET

    def _tell(self, finding: "AuditResult", change: "Difference | None") -> None:
        from howfar.audit.sentences import changes, sentences

        for sentence in sentences(finding):
            terminal.tell(sentence)
        rows = [
            [name, f"{score:.3f}", "yes" if name in finding.above else "–"] for name, score in finding.scores.items()
        ]
        if rows:
            terminal.show_table(["detector", "score", "above its threshold"], rows)
        if change is not None:
            for sentence in changes(change):
                terminal.tell(sentence)
