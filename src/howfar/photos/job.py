"""Settings for protecting a folder of photographs, and their validation."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from howfar import arrays
from howfar.data.tree import unlabeled
from howfar.errors import UsageError
from howfar.photos.encoding import Encoding
from howfar.photos.listing import Photo
from howfar.photos.manifest import NOTES
from howfar.photos.noise import check_noise
from howfar.photos.strength import SIDES
from howfar.protectors import Protector
from howfar.spec.suffixes import flat

Broken = Literal["stop", "skip", "copy"]


@dataclass(frozen=True)
class ProtectionJob:
    """Settings for protecting a folder.

    Attributes:
        source: the folder of photographs.
        output: the folder of protected copies.
        label: name and settings of the protector.
        protector: the protector.
        encoding: output format.
        seed: of all randomness.
        broken: what to do with files that cannot be protected: ``stop``, ``skip``, or ``copy`` them unchanged.
        ssim_photos: number of photographs, evenly spaced, on which SSIM is measured, as it is slow.
        clusters: number of clusters used as labels; 0 takes the labels of the photographs.
        sides: of the thumbnails on which noise is crafted, pixels.
        strength: visibility of the noise, as in ``howfar.photos.mask.shaped``; None adds it as it was crafted.
    """

    source: Path
    output: Path
    label: str
    protector: Protector
    encoding: Encoding
    seed: int = 0
    broken: Broken = "stop"
    ssim_photos: int = 20
    clusters: int = 0
    sides: tuple[int, ...] = SIDES
    strength: float | None = None

    def description(self) -> dict[str, Any]:
        """Return its entries in the manifest."""
        return {
            "protector": self.label,
            "seed": self.seed,
            "clusters": self.clusters,
            "sides": self.sides,
            "strength": self.strength,
            "encoding": asdict(self.encoding),
        }

    def digest(self, photos: Sequence[Photo]) -> str:
        """Return a digest of everything that must be equal to resume a run."""
        how = [self.label, self.seed, self.clusters, self.sides, self.strength, asdict(self.encoding)]
        content = [*how, [asdict(photo) for photo in photos]]
        return hashlib.sha256(arrays.canonical(content).encode()).hexdigest()

    def settings(self, photos: Sequence[Photo]) -> dict[str, Any]:
        """Return the same by name, to tell what differs; of the photographs, how many there are and a digest."""
        listed = hashlib.sha256(arrays.canonical([[photo.name, photo.label] for photo in photos]).encode()).hexdigest()[
            :8
        ]
        return {**dict(flat(self.description())), "photographs": f"{len(photos)} ({listed})"}


def check(job: ProtectionJob, photos: Sequence[Photo] = ()) -> None:
    """Validate a job before any photograph is read.

    Args:
        job: the settings.
        photos: photographs to protect; if given, required labels are checked as well.

    Raises:
        UsageError: unless the output is a separate folder, empty or begun by ``protect_folder``, and the protector
            supports the photographs.
    """
    source, output = job.source.resolve(), job.output.resolve()
    if source == output or source in output.parents or output in source.parents:
        raise UsageError(
            f"{job.output} is inside {job.source} or contains it. Originals are never modified: choose another folder."
        )
    if output.exists() and not output.is_dir():
        raise UsageError(f"{job.output} is a file, not a folder. Choose another name.")
    if output.exists() and (any(output.iterdir()) and not (output / NOTES).is_dir()):
        raise UsageError(f"{job.output} holds other files. Choose an empty folder.")
    labels = ["cluster", "other"] if job.clusters else [photo.label for photo in photos]
    if labels:
        try:
            check_noise(job.protector, labels)
        except UsageError as error:
            stray = "" if any(labels) else unlabeled([photo.name for photo in photos])
            raise UsageError(f"{error} {stray}".rstrip()) from None
