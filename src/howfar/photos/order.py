"""What shall be done with a folder of photographs, and whether it can be."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from howfar import arrays
from howfar.data.tree import beside
from howfar.errors import UsageError
from howfar.photos.encoding import Encoding
from howfar.photos.listing import Photo
from howfar.photos.manifest import NOTES
from howfar.photos.noise import SIDES, check_noise
from howfar.protect import Protector

Broken = Literal["stop", "skip", "copy"]


@dataclass(frozen=True)
class Order:
    """What shall be done with a folder.

    Attributes:
        source: the folder of photographs.
        output: the folder of the protected ones.
        label: of the protector.
        protector: the protector.
        encoding: how files are written.
        seed: of all randomness.
        broken: what to do with files that cannot be protected: ``stop``, ``skip`` or ``copy`` them as they are.
        ssim_photos: SSIM is slow, so it is measured on so many photographs, evenly spaced.
        clusters: number of clusters that stand in for labels; 0 takes the labels of the photographs.
        sides: of the small versions that noise is crafted on, pixels.
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

    def described(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "protector": self.label,
            "seed": self.seed,
            "clusters": self.clusters,
            "sides": self.sides,
            "encoding": asdict(self.encoding),
        }

    def digest(self, photos: Sequence[Photo]) -> str:
        """Return what must be the same for work to go on."""
        how = [self.label, self.seed, self.clusters, self.sides, asdict(self.encoding)]
        content = [*how, [asdict(photo) for photo in photos]]
        return hashlib.sha256(arrays.canonical(content).encode()).hexdigest()


def check(order: Order, photos: Sequence[Photo] = ()) -> None:
    """Refuse an order before any photograph is read.

    Args:
        order: what shall be done.
        photos: to be protected; with them, whether the protector has the labels that it needs is checked as well.

    Raises:
        UsageError: unless the output is a folder of its own, empty or begun by ``protect_folder``, and the protector
            can protect the photographs.
    """
    source, output = order.source.resolve(), order.output.resolve()
    if source == output or source in output.parents or output in source.parents:
        raise UsageError(
            f"{order.output} lies in {order.source} or around it. Originals are never touched: choose another."
        )
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / NOTES).is_dir())):
        raise UsageError(f"{order.output} holds other files. Choose an empty folder.")
    labels = ["cluster", "other"] if order.clusters else [photo.label for photo in photos]
    if labels:
        try:
            check_noise(order.protector, labels)
        except UsageError as error:
            stray = "" if any(labels) else beside([photo.name for photo in photos])
            raise UsageError(f"{error} {stray}".rstrip()) from None
