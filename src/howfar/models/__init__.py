"""Networks by name. An entry of ``MODELS`` takes sizes such as the width, and returns an ``Architecture``."""

from howfar.models.airbench import airbench
from howfar.models.build import Architecture, Shape, build, channels_last, fit_images
from howfar.models.classic import lenet5, linear
from howfar.models.densenet import densenet121
from howfar.models.mobilenet import mobilenetv2
from howfar.models.modes import in_eval_mode
from howfar.models.pretrained import pretrained
from howfar.models.resnet import resnet8, resnet18, resnet50, senet18
from howfar.models.unet import unet
from howfar.models.vit import vit_small
from howfar.spec.table import Table

MODELS: Table[Architecture] = Table(
    "model",
    {
        "linear": linear,
        "lenet5": lenet5,
        "resnet8": resnet8,
        "resnet18": resnet18,
        "resnet50": resnet50,
        "senet18": senet18,
        "mobilenetv2": mobilenetv2,
        "densenet121": densenet121,
        "airbench": airbench,
        "unet": unet,
        "vit-small": vit_small,
        "pretrained": pretrained,
    },
)

__all__ = ["MODELS", "Architecture", "Shape", "build", "channels_last", "fit_images", "in_eval_mode"]
