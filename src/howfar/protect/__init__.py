"""Step 2, Data -> Data: one protector a file, all of them named in ``PROTECTORS``."""

from collections.abc import Callable

from howfar.protect.clean import Clean
from howfar.protect.em import ErrorMinimizing
from howfar.protect.lsp import LinearlySeparable
from howfar.protect.ops import OnePixelShortcut
from howfar.protect.protector import Progress, Protector
from howfar.protect.random_noise import RandomNoise

PROTECTORS: dict[str, Callable[..., Protector]] = {
    "clean": Clean,
    "random": RandomNoise,
    "em": ErrorMinimizing,
    "lsp": LinearlySeparable,
    "ops": OnePixelShortcut,
}

__all__ = ["PROTECTORS", "Progress", "Protector"]
