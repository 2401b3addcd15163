"""Step 2, Data -> protected Data: one protector per file, all of them listed in ``PROTECTORS``."""

from howfar.protectors.aap import AugmentedAdversarial
from howfar.protectors.ar import Autoregressive
from howfar.protectors.aue import AugmentedErrorMinimizing
from howfar.protectors.carriers import TargetCarriers
from howfar.protectors.clean import Clean
from howfar.protectors.cp import ContrastivePoisoning
from howfar.protectors.cuda import ConvolutionBased
from howfar.protectors.dc import DeepConfuse
from howfar.protectors.delusive import Delusive
from howfar.protectors.draft import Draft
from howfar.protectors.em import ErrorMinimizing
from howfar.protectors.entf import EntangledFeatures
from howfar.protectors.gue import GameUnlearnable
from howfar.protectors.hypo import Hypocritical
from howfar.protectors.imported import Imported
from howfar.protectors.layered import Layered
from howfar.protectors.lsp import LinearlySeparable
from howfar.protectors.mi_ue import MutualInformation
from howfar.protectors.mtl_ue import MultiTaskUnlearnable
from howfar.protectors.ntga import NeuralTangent
from howfar.protectors.ops import OnePixelShortcut
from howfar.protectors.own import protect
from howfar.protectors.pil import PerturbationInducedLinearization
from howfar.protectors.protector import Progress, Protector
from howfar.protectors.pseudo_labels import PseudoLabelCarriers, PseudoLabelStripes
from howfar.protectors.pue import ProvablyUnlearnable
from howfar.protectors.random_noise import RandomNoise
from howfar.protectors.refined_carriers import RefinedCarriers
from howfar.protectors.rem import RobustErrorMinimizing
from howfar.protectors.sem import StableErrorMinimizing
from howfar.protectors.sep import SelfEnsemble
from howfar.protectors.stripes import Stripes
from howfar.protectors.tap import TargetedPoisoning
from howfar.protectors.tue import TransferableUnlearnable
from howfar.protectors.uc import UnlearnableClusters
from howfar.protectors.waves import Waves
from howfar.protectors.woven import Woven
from howfar.spec.table import Table

PROTECTORS: Table[Protector] = Table(
    "protector",
    {
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
    },
)

__all__ = ["PROTECTORS", "Draft", "Progress", "Protector", "protect"]
