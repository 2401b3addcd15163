"""Step 2, Data -> protected Data: one protector per file, all of them listed in ``PROTECTORS``."""

from collections.abc import Callable

from howfar.protect.aap import AugmentedAdversarial
from howfar.protect.ar import Autoregressive
from howfar.protect.aue import AugmentedErrorMinimizing
from howfar.protect.carriers import TargetCarriers
from howfar.protect.clean import Clean
from howfar.protect.cp import ContrastivePoisoning
from howfar.protect.cuda import ConvolutionBased
from howfar.protect.dc import DeepConfuse
from howfar.protect.delusive import Delusive
from howfar.protect.draft import Draft
from howfar.protect.em import ErrorMinimizing
from howfar.protect.entf import EntangledFeatures
from howfar.protect.gue import GameUnlearnable
from howfar.protect.hypo import Hypocritical
from howfar.protect.imported import Imported
from howfar.protect.layered import Layered
from howfar.protect.lsp import LinearlySeparable
from howfar.protect.mi_ue import MutualInformation
from howfar.protect.mtl_ue import MultiTaskUnlearnable
from howfar.protect.ntga import NeuralTangent
from howfar.protect.ops import OnePixelShortcut
from howfar.protect.pil import PerturbationInducedLinearization
from howfar.protect.protector import Progress, Protector
from howfar.protect.pseudo_labels import PseudoLabelCarriers, PseudoLabelStripes
from howfar.protect.pue import ProvablyUnlearnable
from howfar.protect.random_noise import RandomNoise
from howfar.protect.refined_carriers import RefinedCarriers
from howfar.protect.rem import RobustErrorMinimizing
from howfar.protect.sem import StableErrorMinimizing
from howfar.protect.sep import SelfEnsemble
from howfar.protect.stripes import Stripes
from howfar.protect.tap import TargetedPoisoning
from howfar.protect.tue import TransferableUnlearnable
from howfar.protect.uc import UnlearnableClusters
from howfar.protect.waves import Waves
from howfar.protect.woven import Woven

PROTECTORS: dict[str, Callable[..., Protector]] = {
    "clean": Clean,
    "random": RandomNoise,
    # without a surrogate
    "lsp": LinearlySeparable,
    "ar": Autoregressive,
    "ops": OnePixelShortcut,
    "cuda": ConvolutionBased,
    "pil": PerturbationInducedLinearization,
    "ntga": NeuralTangent,
    "carriers": TargetCarriers,
    "stripes": Stripes,
    "waves": Waves,
    "layered": Layered,
    "woven": Woven,
    # against a surrogate trained on clean data
    "tap": TargetedPoisoning,
    "aap": AugmentedAdversarial,
    "sep": SelfEnsemble,
    "hypo": Hypocritical,
    "delusive": Delusive,
    "entf": EntangledFeatures,
    # min-min: surrogate and noise alternate
    "em": ErrorMinimizing,
    "rem": RobustErrorMinimizing,
    "sem": StableErrorMinimizing,
    "aue": AugmentedErrorMinimizing,
    "mi-ue": MutualInformation,
    "pue": ProvablyUnlearnable,
    "tue": TransferableUnlearnable,
    "refined-carriers": RefinedCarriers,
    # with a generator
    "dc": DeepConfuse,
    "gue": GameUnlearnable,
    "mtl-ue": MultiTaskUnlearnable,
    # without labels
    "taught-carriers": PseudoLabelCarriers,
    "taught-stripes": PseudoLabelStripes,
    "cp": ContrastivePoisoning,
    "uc": UnlearnableClusters,
    # from a file
    "import": Imported,
}

__all__ = ["PROTECTORS", "Draft", "Progress", "Protector"]
