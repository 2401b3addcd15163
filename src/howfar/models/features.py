"""What a network has made of an image before its last layer."""

from torch import Tensor, nn

from howfar.arrays import Images


def last_linear(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network, its head."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def features(model: nn.Module, images: Images) -> Tensor:
    """Return what the head of a network sees, (n, features)."""
    seen: list[Tensor] = []
    hook = last_linear(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return seen[0].float()
