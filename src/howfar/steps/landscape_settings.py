"""Settings of loss surfaces."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from howfar.errors import UsageError, unknown
from howfar.models.build import weight_names
from howfar.probe import weight_plane
from howfar.probe.evaluators import Norms
from howfar.spec import LARGEST

MOST_POINTS = 1000  # per axis
Kind = Literal["pca", "random", "line", "curve", "hessian", "weights"]


@dataclass(frozen=True)
class LandscapeSettings:
    """Settings of the surfaces.

    Attributes:
        plane: ``pca`` of all trajectories, ``random`` directions around every network, the ``line`` or the ``curve``
            from the clean network to every other, the two leading ``hessian`` eigenvectors of a layer, or two single
            ``weights``.
        points: of the grid along each axis.
        extent: margin of a plane around the trajectories, relative to their span; for random and Hessian planes the
            half-width, relative to the norm of the filters or of the layer.
        norms: batch statistics; see ``howfar.probe.landscape``.
        share: maximum share of the grid points to evaluate.
        draws: number of random planes.
        layer: of the Hessian.
        weights: two layer names with indices, ``head.weight:0,head.weight:1``.
        images: number of images to evaluate on, of the test set and of every training set.
    """

    plane: Kind = "pca"
    points: int = 25
    extent: float = 0.3
    norms: Norms = "re-estimated"
    share: float = 1.0
    draws: int = 3
    layer: str = ""
    weights: str = ""
    images: int = 512

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for invalid settings."""
        if self.points < 3 or self.images < 1 or self.draws < 1:
            raise UsageError("a landscape needs at least 3 points per axis, 1 image and 1 draw.")
        if self.points > MOST_POINTS or max(self.images, self.draws) > LARGEST:
            raise UsageError(
                "--points, --images or --draws is too large. "
                f"Use at most {MOST_POINTS} points per axis, and {LARGEST} images and draws."
            )
        if not 0 < self.share <= 1:
            raise UsageError(f"--share {self.share} is out of range. Use more than 0, and at most 1.")
        if self.plane == "hessian" and not self.layer:
            raise UsageError("no layer is given for the Hessian. Give --layer, e.g. --layer head.weight.")
        if self.plane == "weights" and self.weights.count(",") != 1:
            raise UsageError(
                "--plane weights needs two weights. Give --weights, e.g. --weights head.weight:0,head.weight:1."
            )
        if self.plane == "weights":
            self.chosen()

    def chosen(self) -> list[tuple[str, int]]:
        """Return the two weights: layer name and index."""
        found = [_weight(text) for text in self.weights.split(",")]
        if len(set(found)) < len(found):
            raise UsageError(
                f"--weights '{self.weights}' names the same weight twice, which spans no plane. Choose another one."
            )
        return found

    def check(self, model: nn.Module) -> None:
        """Raise ``UsageError`` unless a network has the layer or the weights that are wanted."""
        if self.plane == "weights":
            weight_plane(model, *self.chosen())
        elif self.plane == "hessian" and self.layer not in weight_names(model):
            raise unknown("layer", self.layer, weight_names(model))


def _weight(text: str) -> tuple[str, int]:
    name, _, number = text.strip().rpartition(":")
    if not name or not (number.isascii() and number.isdecimal()):
        raise UsageError(f"'{text}' is not a weight. Write layer name and index, e.g. head.weight:0.")
    return name, int(number)
