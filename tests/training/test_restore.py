"""Whoever borrows a network gives it back as it was, also when something fails on the way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.defend import DEFENSES, Chain, Learner, loss_inputs
from howfar.defend.linear_probe import head_inputs
from howfar.models import MODELS, build, in_eval_mode
from howfar.models.features import features, last_linear
from howfar.models.heads import channels_of
from howfar.tasks import classification
from howfar.training import Recipe, adversarial, evaluate, plain

from ..conftest import make_data

DATA = make_data(12, (3, 16, 16))
TASK = classification()(DATA)
IMAGES, LABELS = arrays.unit_images(DATA.pixels), DATA.targets["label"]


class BrokenError(Exception):
    """What a network of these tests raises."""


def network() -> nn.Module:
    """Return a network with a frozen normalization, a fixed weight, and gradients from before."""
    model = build(MODELS["resnet8"](width=2), DATA.shape, 3, generator=arrays.seeded(0))
    plain(TASK, model, IMAGES, LABELS, arrays.seeded(0)).mean().backward()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[1].eval()
    last_linear(model).weight.requires_grad_(False)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """Return all that a borrower may leave changed: modes, flags, hooks, weights, statistics, gradients."""
    values = {name: values.clone() for name, values in model.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "flags": {name: p.requires_grad for name, p in model.named_parameters()},
        "identities": {name: id(p) for name, p in model.named_parameters()},
        "hooks": {
            name: (len(module._forward_pre_hooks), len(module._forward_hooks), len(module._backward_hooks))
            for name, module in model.named_modules()
        },
        "values": values,
        "gradients": grads,
    }


def assert_same(before: dict[str, Any], after: dict[str, Any], *, values: bool = True) -> None:
    for part in ("modes", "flags", "identities", "hooks"):
        assert before[part] == after[part], part
    for part in ("values", "gradients") if values else ("gradients",):
        assert before[part].keys() == after[part].keys()
        for name, one in before[part].items():
            other = after[part][name]
            same = one is other if one is None or other is None else torch.equal(one, other)
            assert same, f"{part} of {name}"


def failing(model: nn.Module, after: int) -> Callable[[], None]:
    """Let the head of a network fail at the pass after so many; returns what mends it."""
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes > after:
            raise BrokenError

    return last_linear(model).register_forward_pre_hook(count).remove


def own(data: Data = DATA) -> Learner:
    return Learner(TASK, Recipe(epochs=1, batch_size=8, crop=0, flip=False), clean=data)


BORROWERS: dict[str, Callable[[nn.Module], object]] = {
    "evaluate": lambda model: evaluate(model, DATA, TASK, batch_size=4),
    "adversarial": lambda model: adversarial(
        TASK, model, IMAGES, LABELS, arrays.seeded(0), eps=0.1, steps=2, inner=searched
    ),
    "adversarial in L2": lambda model: adversarial(
        TASK, model, IMAGES, LABELS, arrays.seeded(0), eps=0.1, steps=2, norm="l2", inner=searched
    ),
    "seen features": lambda model: head_inputs(model, DATA, own()),
    "channels": lambda model: channels_of(model, DATA.shape),
    "as seen by at": lambda model: seen_with("at[steps=2]", model),
    "as seen by ueraser": lambda model: seen_with("ueraser:max[views=2]", model),
    "as seen by mixup": lambda model: seen_with("mixup", model),
}


def searched(task: Any, model: nn.Module, images: Tensor, targets: Any, generator: torch.Generator) -> Tensor:
    """Return the loss of a network, where only images that are searched for gradients pass: statistics stay."""
    if not images.requires_grad:
        return torch.zeros(len(images))
    return plain(task, model, images, targets, generator)


def seen_with(name: str, model: nn.Module) -> Data:
    return loss_inputs(Chain.parse(name, DEFENSES).build(), model, TASK, DATA, done=0.0, generator=arrays.seeded(0))


@pytest.mark.parametrize("name", BORROWERS)
def test_a_network_comes_back_as_it_was(name: str) -> None:
    model = network()
    before, random = state(model), torch.get_rng_state()
    BORROWERS[name](model)
    assert_same(before, state(model))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("name", [name for name in BORROWERS if name != "channels"])
def test_a_network_that_fails_comes_back_as_it_was(name: str, passes: int) -> None:
    model = network()
    before, random = state(model), torch.get_rng_state()
    mend = failing(model, 0 if "seen" in name else passes)
    with pytest.raises(BrokenError):
        BORROWERS[name](model)
    mend()
    assert_same(before, state(model))
    assert torch.equal(torch.get_rng_state(), random)


def test_channels_of_a_backbone_that_fails_leave_its_modes() -> None:
    model = network()
    before = state(model)
    mend = next(model.children()).register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(BrokenError)).remove
    with pytest.raises(BrokenError):
        channels_of(model, DATA.shape)
    mend()
    assert_same(before, state(model))


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("name", ["at[steps=2]", "ueraser:max[views=2,policy=apbench]", "mixup+ueraser:max[views=2]"])
def test_a_defense_that_fails_in_a_batch_leaves_modes_flags_and_gradients(name: str, passes: int) -> None:
    model = network()
    before, random = state(model), torch.get_rng_state()
    mend = failing(model, 0 if "mixup" in name else passes)
    around = Chain.parse(name, DEFENSES).build().around
    with pytest.raises(BrokenError):
        around(plain, 0.0)(TASK, model, IMAGES, LABELS, arrays.seeded(0))
    mend()
    assert_same(before, state(model), values=False)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_hook_goes_when_the_network_fails() -> None:
    model = network()
    before = state(model)
    mend = next(model.children()).register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(BrokenError)).remove
    with pytest.raises(BrokenError):
        features(model, IMAGES)
    mend()
    assert_same(before, state(model))


def test_fine_tuning_that_fails_leaves_the_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import numpy as np

    other = make_data(40, (3, 16, 16), 5)
    pixels, labels = other.pixels.permute(0, 2, 3, 1).numpy(), other.targets["label"].numpy()
    np.savez(tmp_path / "other.npz", x_train=pixels, y_train=labels, x_test=pixels[:10], y_test=labels[:10])
    model = network()
    weight, mend = last_linear(model).weight.clone(), failing(model, 2)
    with pytest.raises(BrokenError):
        Chain.parse(f"fine-tune[data=npz[root={tmp_path / 'other.npz'}]]", DEFENSES).build().before(model, DATA, own())
    mend()
    assert torch.equal(last_linear(model).weight, weight)
    assert last_linear(model).out_features == 3


def test_eval_mode_ends_with_every_module_as_it_was() -> None:
    model = network()
    modes = state(model)["modes"]
    assert len(set(modes.values())) == 2

    def fail() -> None:
        with in_eval_mode(model):
            assert not any(module.training for module in model.modules())
            raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    assert state(model)["modes"] == modes
