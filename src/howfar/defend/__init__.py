"""Step 3a, defenses of the learner: one per file, all of them listed in ``DEFENSES``."""

from collections.abc import Iterable

from howfar.defend.adaptive import adaptive
from howfar.defend.at import at
from howfar.defend.bdr import bdr
from howfar.defend.chain import Chain
from howfar.defend.clean_only import clean_only
from howfar.defend.coin import coin
from howfar.defend.cutmix import cutmix
from howfar.defend.cutout import cutout
from howfar.defend.defense import Defense, Learner, chained, none
from howfar.defend.denoise import denoise
from howfar.defend.dfr import dfr
from howfar.defend.diffusion_purify import diffusion_purify
from howfar.defend.early_stop import early_stop
from howfar.defend.fine_tune import fine_tune
from howfar.defend.gaussian import gaussian
from howfar.defend.gray import gray
from howfar.defend.jpeg import jpeg
from howfar.defend.linear_probe import linear_probe
from howfar.defend.loss_inputs import loss_inputs
from howfar.defend.median import median
from howfar.defend.mix import mix
from howfar.defend.mixup import mixup
from howfar.defend.orthogonal_projection import orthogonal_projection
from howfar.defend.randaugment import randaugment
from howfar.defend.resize import resize
from howfar.defend.sharpen_dct import sharpen_dct
from howfar.defend.transfer import transfer
from howfar.defend.ueraser import ueraser
from howfar.spec.table import Table

DEFENSES: Table[Defense] = Table(
    "defense",
    {
        "none": none,
        # purifiers
        "gray": gray,
        "bdr": bdr,
        "jpeg": jpeg,
        "gaussian": gaussian,
        "median": median,
        "resize": resize,
        "orthogonal-projection": orthogonal_projection,
        # in every batch
        "cutout": cutout,
        "cutmix": cutmix,
        "mixup": mixup,
        "randaugment": randaugment,
        "coin": coin,
        "sharpen-dct": sharpen_dct,
        "at": at,
        "ueraser": ueraser,
        # with clean or other images
        "early-stop": early_stop,
        "denoise": denoise,
        "adaptive": adaptive,
        "diffusion-purify": diffusion_purify,
        "fine-tune": fine_tune,
        "transfer": transfer,
        "linear-probe": linear_probe,
        "dfr": dfr,
        "clean-only": clean_only,
        "mix": mix,
    },
)

# Ensembles for the worst case: the cheapest sets as effective as all defenses together; see docs/defenses.md.
ENSEMBLES: dict[str, tuple[str, ...]] = {
    "standard-v1": ("none", "jpeg", "orthogonal-projection:momentum", "dfr"),
}
WORST = "standard-v1"


def expanded(names: Iterable[str]) -> dict[str, bool]:
    """Return defenses with ensembles expanded; ``worst`` is the newest ensemble.

    Returns:
        for every defense, whether it was named explicitly rather than by an ensemble.
    """
    found: dict[str, bool] = {}
    for name in names:
        ensemble = ENSEMBLES.get(WORST if name == "worst" else name)
        for member in ensemble or (name,):
            found[member] = found.get(member, False) or ensemble is None
    return found


__all__ = ["DEFENSES", "ENSEMBLES", "WORST", "Chain", "Defense", "Learner", "chained", "expanded", "loss_inputs"]
