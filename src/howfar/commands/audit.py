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
    from howfar.audit import Difference, Finding
    from howfar.data import Data

CLUSTERS = 8  # that stand in for labels


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

        if not 16 <= self.size <= 256:
            raise UsageError(f"--size {self.size} makes no sense. Take 32.")
        data, names, labelled = self._loaded(self.suspect)
        finding = terminal.watch(audit(data, seed=self.seed), "audit")
        change = None
        if self.reference is not None:
            clean, others, _ = self._loaded(self.reference)
            change = difference(*_matched(clean, others, data, names))
        if self.json:
            terminal.show_json(
                {**asdict(finding), "labelled": labelled, "difference": asdict(change) if change else None}
            )
        else:
            self._tell(finding, change, labelled=labelled)
        met = self.require is None or finding.protected == (self.require == "protected")
        return 0 if met else UNMET

    def _loaded(self, source: str) -> "tuple[Data, list[str], bool]":
        """Return small images with labels, their names (none where order counts), and whether labels are known."""
        import torch

        from howfar import arrays
        from howfar.data import DATASETS, Data, clustered
        from howfar.photos.listing import labels_by_folder, labels_by_table, photos_in
        from howfar.photos.pairs import WAYS, seen
        from howfar.spec import parse

        folder, names = Path(source), list[str]()
        if folder.is_dir():
            names = photos_in(folder)
            known = labels_by_table(Path(self.labels), names) if self.labels else labels_by_folder(names)
            images = seen([folder / name for name in names], self.size, WAYS["as-is"], workers=arrays.cores())
            pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
            kinds = sorted(set(known.values()))
            labels = torch.tensor([kinds.index(known[name]) for name in names]) if known else None
        else:
            whole = parse(f"npz:{source}" if folder.suffix == ".npz" else source, DATASETS, "data set").build().train
            pixels, labels = whole.pixels, whole.targets.get("label")
        labelled = labels is not None
        if labels is None:
            labels = clustered(pixels, CLUSTERS, seed=self.seed)
        return Data(pixels, {"label": labels.long()}, torch.arange(len(pixels))), names, labelled

    def _tell(self, finding: "Finding", change: "Difference | None", *, labelled: bool) -> None:
        for sentence in _sentences(finding, labelled=labelled):
            terminal.out(sentence)
        rows = [
            [name, f"{score:.3f}", "yes" if name in finding.above else "–"] for name, score in finding.scores.items()
        ]
        terminal.show_table(["detector", "score", "above its threshold"], rows)
        if change is not None:
            for sentence in _changes(change):
                terminal.out(sentence)


def _matched(clean: "Data", others: list[str], data: "Data", names: list[str]) -> "tuple[Data, Data]":
    """Return the images that are in both, in one order."""
    if bool(names) != bool(others):
        raise UsageError("suspect and reference must both be folders, or both be data sets.")
    if not names:
        if clean.pixels.shape != data.pixels.shape:
            raise UsageError(f"the reference has {len(clean)} images, the suspect {len(data)}. Give the same images.")
        return clean.with_pixels(clean.pixels), data
    stems = {Path(name).with_suffix("").as_posix(): place for place, name in enumerate(others)}
    pairs = [
        (stems[stem], place)
        for place, name in enumerate(names)
        if (stem := Path(name).with_suffix("").as_posix()) in stems
    ]
    if not pairs:
        raise UsageError("no image of the suspect has the name of one of the reference.")
    import torch

    first, second = (torch.tensor(places) for places in zip(*pairs, strict=True))
    return data.take(second).with_pixels(clean.pixels[first]), data.take(second)


def _sentences(finding: "Finding", *, labelled: bool) -> list[str]:
    """Return the verdict in plain words."""
    about = f"{finding.images} images in {finding.classes} {'classes' if labelled else 'clusters'}"
    alarms = f"{100 * finding.false_alarms:.0f} % of clean sets are called protected by mistake"
    if finding.protected:
        found = f"This looks protected ({about}; suspicion {finding.suspicion:.2f}; {alarms})."
        kind = f"It looks most like {finding.family} (probability {finding.sure:.2f} among the kinds that are known)."
        told = [found, kind]
    else:
        told = [
            f"No protection was found ({about}; suspicion {finding.suspicion:.2f}; {alarms}). Kinds that the detectors "
            "were not calibrated on may escape them."
        ]
    if not labelled:
        told.append("Labels are not known, and clusters stood in for them: protection by class can escape.")
    return told


def _changes(change: "Difference") -> list[str]:
    """Return what was changed, in plain words."""
    seen = change.budget
    bands = ", ".join(f"{name} {100 * share:.0f} %" for name, share in change.bands.items())
    classes = ", ".join(f"{label}: {norm:.2f}" for label, norm in change.by_class.items())
    low, middle, high = change.largest
    return [
        f"{100 * change.changed:.0f} % of the images were changed, by at most {seen.linf}/255 (an image: {low} to "
        f"{high}, median {middle}); L2 {seen.l2:.2f}, PSNR {seen.psnr:.1f} dB, SSIM {seen.ssim:.3f}.",
        f"Energy of the change by frequency: {bands}. L2 by class: {classes}.",
        f"Images of one class share {'their noise' if change.shared > 0.5 else 'little of their noise'} "
        f"(cosine within classes less that between them {change.shared:.2f}).",
    ]
