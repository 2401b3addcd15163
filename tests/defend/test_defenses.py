"""Defenses: identity where it should be, what each promises, targets that move along, and what a probe sees."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data, Splits
from howfar.defend import DEFENSES, Chain, Defense, Learner, expanded, loss_inputs
from howfar.defend.linear_probe import put_head
from howfar.defend.orthogonal_projection import basis_of, fitted_weights
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.features import features, last_linear
from howfar.protectors import PROTECTORS
from howfar.tasks import TASKS, Task, classification
from howfar.training import Recipe, plain, train
from tests.conftest import make_data

FEW = {"denoise": "denoise[steps=2]", "adaptive": "adaptive[copies=2,steps=2]", "dfr": "dfr[draws=2]"}
TABLE = [name for name in DEFENSES if name not in ("diffusion-purify", "fine-tune", "transfer", "mix")]
TASK = classification()(make_data(12, (3, 8, 8)))
QUICK = Recipe(epochs=1, batch_size=8, crop=0, flip=False)


def learner(data: Data, **changes: Any) -> Learner:
    task = classification()(data)
    clean = make_data(12, data.shape, task.outputs, seed=9)
    return replace(Learner(task, QUICK, clean=clean, method=PROTECTORS["random"]()), **changes)


def chain(text: str) -> Defense:
    return Chain.parse(text, DEFENSES).build()


def network(data: Data, outputs: int) -> nn.Module:
    return build(MODELS["resnet8"](width=2), data.shape, outputs, generator=arrays.seeded(0))


@pytest.mark.parametrize("shape", [(3, 16, 12), (1, 12, 16)])
@pytest.mark.parametrize("name", TABLE)
def test_every_defense_keeps_shapes_and_is_deterministic(name: str, shape: tuple[int, int, int]) -> None:
    data = make_data(12, shape)
    own, defense = learner(data), chain(FEW.get(name, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        purified, again = defense.purify(data, own), defense.purify(data, own)
    assert torch.equal(purified.pixels, again.pixels)
    assert purified.pixels.shape == data.pixels.shape
    images = arrays.unit_images(purified.pixels)
    before = images.clone()
    state = torch.get_rng_state()

    def loss(model: nn.Module) -> Tensor:
        return defense.around(plain, 0.0)(own.task, model, images, purified.targets["label"], arrays.seeded(5))

    model = network(data, own.task.outputs)
    first, second = loss(model), loss(network(data, own.task.outputs))
    assert first.shape == (12,)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)
    assert torch.equal(images, before), "the images are not written to"
    assert torch.equal(torch.get_rng_state(), state), "global randomness stays"
    assert model.training
    defense.before(model, purified, own)
    defense.after(model, purified, own)
    assert torch.isfinite(model.eval()(images)).all()


@pytest.mark.parametrize("name", ["bdr[bits=8]", "resize[factor=1]", "none", "early-stop", "cutmix[share=1e-9]"])
def test_what_changes_nothing_is_the_identity(name: str) -> None:
    data = make_data(8, (3, 16, 12))
    own, defense, model = learner(data), chain(name), network(data, 3)
    assert torch.equal(defense.purify(data, own).pixels, data.pixels)
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    loss = defense.around(plain, 0.0)(own.task, model, images, target, arrays.seeded(0))
    assert torch.allclose(loss, plain(own.task, model, images, target, arrays.seeded(0)), atol=1e-6)


def test_gray_is_luminance_and_leaves_gray_images() -> None:
    data = make_data(4, (3, 6, 5))
    red, green, blue = data.pixels.double().unbind(1)
    found = chain("gray").purify(data, learner(data)).pixels
    assert (found[:, 0] == found[:, 2]).all()
    assert (found[:, 1] - (0.299 * red + 0.587 * green + 0.114 * blue)).abs().max() <= 0.51
    single = make_data(4, (1, 6, 5))
    assert torch.equal(chain("gray").purify(single, learner(single)).pixels, single.pixels)


def test_bdr_leaves_four_levels() -> None:
    data = make_data(4, (3, 16, 16))
    found = chain("bdr").purify(data, learner(data)).pixels
    assert found.unique().tolist() == [0, 64, 128, 192]
    assert ((data.pixels.int() - found.int()) // 64 == 0).all()


def test_bdr_rounds_to_the_nearest_level_if_asked() -> None:
    values = torch.tensor([0, 31, 32, 95, 96, 159, 160, 255], dtype=torch.uint8)
    data = make_data(2, (3, 1, 8)).with_pixels(values.expand(2, 3, 1, 8).clone())
    found = chain("bdr[rounding=true]").purify(data, learner(data)).pixels
    assert found[0, 0, 0].tolist() == [0, 0, 64, 64, 128, 128, 192, 192]
    exact = chain("bdr[bits=8,rounding=true]").purify(data, learner(data))
    assert torch.equal(exact.pixels, data.pixels)


def test_a_gaussian_that_is_none_says_so() -> None:
    with pytest.warns(UserWarning, match=r"100 % of every pixel.*sigma=1"):
        chain("gaussian[sigma=0.1]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defense = chain("gaussian")
    data = make_data(4, (3, 16, 16))
    rough = data.pixels.double().diff(dim=3).square().mean()
    assert defense.purify(data, learner(data)).pixels.double().diff(dim=3).square().mean() < rough / 2
    for name in ("gaussian[kernel=4]", "median[kernel=4]"):
        with pytest.raises(UsageError, match="odd"):
            chain(name)


def test_orthogonal_projection_removes_what_a_linear_model_sees(digits: Splits) -> None:
    data = digits.train.take(range(600))
    own = learner(data, task=classification()(data))
    basis = basis_of(fitted_weights(data, own, fit="momentum", epochs=20, batch_size=1024))
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-5)

    def along(seen: Data) -> float:
        flat = arrays.unit_images(seen.pixels).flatten(1)
        return float(((flat - arrays.unit_images(data.pixels).flatten(1).mean(0)) @ basis).norm(dim=1).mean())

    assert along(chain("orthogonal-projection:momentum").purify(data, own)) < 0.06 * along(data)


def catch(seen: list[Tensor], received: list[Tensor] | None = None) -> Callable[..., Tensor]:
    def inner(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images)
        (received if received is not None else []).append(targets)
        return torch.zeros(len(images))

    return inner


@pytest.mark.parametrize("name", ["cutmix", "coin", "randaugment", "ueraser:lite"])
@pytest.mark.parametrize("channels", [0, 1])
def test_dense_targets_move_with_their_images(name: str, channels: int) -> None:
    """The target is a copy of the image's one channel, so that it must stay one wherever geometry alone is at work."""
    generator = arrays.seeded(0)
    blocks = (
        torch.randint(0, 2, (6, 1, 4, 4), generator=generator).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    images, targets = blocks * 0.8 + 0.1, (blocks if channels else blocks[:, 0].long())
    moved = 0.0
    for number in range(8):
        seen: list[Tensor] = []
        received: list[Tensor] = []
        chain(name).around(catch(seen, received), 1.0)(TASK, nn.Identity(), images, targets, arrays.seeded(number))
        assert received[-1].shape == targets.shape
        assert received[-1].dtype == targets.dtype
        received[-1] = (
            received[-1].where(received[-1] != arrays.VOID, 0).nan_to_num(0.0)
        )  # the image, if others move in
        own = received[-1].float().view(6, -1)
        change = (own - targets.float().view(6, -1)).abs().mean()
        moved += float(change)
        if name in ("cutmix", "coin"):
            close = (seen[-1].view(6, -1) - (own * 0.8 + 0.1)).abs() < 0.41
            assert close.float().mean() > (0.999 if name == "cutmix" else 0.95)
        elif change > 0.05:  # operations on colors change no place, so the bright side must still be the target's
            still = np.corrcoef(seen[-1].flatten().numpy(), own.flatten().numpy())[0, 1]
            stale = np.corrcoef(seen[-1].flatten().numpy(), targets.flatten().numpy())[0, 1]
            assert abs(still) > abs(stale) - 0.02
    assert moved > 0.01


@pytest.mark.parametrize("name", ["randaugment", "ueraser:lite", "ueraser:max"])
def test_places_that_move_in_have_no_answer(name: str) -> None:
    """A depth of 0 m would make the loss infinite; class 0 would be learned where there is nothing."""
    meters = 1 + torch.rand(6, 1, 32, 32, generator=arrays.seeded(0))
    classes = torch.randint(1, 4, (6, 32, 32), generator=arrays.seeded(1))
    for targets in (meters, classes):
        received: list[Tensor] = []
        for number in range(8):
            images = torch.rand(6, 3, 32, 32, generator=arrays.seeded(number))
            chain(name).around(catch([], received), 1.0)(TASK, nn.Identity(), images, targets, arrays.seeded(number))
        moved = torch.cat(received)
        known = moved.isfinite() if targets is meters else moved != arrays.VOID
        assert 0.5 < known.float().mean() < 1
        assert torch.isin(moved[known], targets).all()


@pytest.mark.parametrize("name", ["randaugment", "randaugment[operations=4,magnitude=20]", "ueraser:lite"])
def test_normals_stay_perpendicular_to_what_moves(name: str) -> None:
    """The depth of a slope and its normal go through the same draws; the slope of the moved depth gives the normal."""
    down, right = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    depth = (40 + 0.3 * right + 0.7 * down).expand(4, 1, 32, 32)
    vector = torch.tensor([0.3, -0.7, 1.0])  # right, up, towards the camera
    normals = (vector / vector.norm()).view(1, 3, 1, 1).expand(4, 3, 32, 32)
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    task, turned = TASKS["normal"]()(Data(pixels, {"normal": normals}, torch.arange(4))), 0
    for number in range(24):
        received: list[Tensor] = []
        for learned, target in ((TASK, depth), (task, normals)):
            images = torch.rand(4, 3, 32, 32, generator=arrays.seeded(number))
            chain(name).around(catch([], received), 1.0)(learned, nn.Identity(), images, target, arrays.seeded(number))
        found, slope = received
        for moved, seen in zip(found, slope, strict=True):
            known = moved[0].isfinite()
            places = torch.stack([right[known], down[known], torch.ones(int(known.sum()))], 1)
            x, y, _ = torch.linalg.lstsq(places, moved[0][known, None]).solution.flatten().tolist()
            expected = torch.tensor([x, -y, 1.0]) / math.hypot(x, y, 1.0)
            assert torch.allclose(seen[:, known].mean(1), expected, atol=0.02)
            turned += abs(x - 0.3) > 0.1
    assert turned > 4


def test_mixtures_weigh_two_losses_from_one_pass() -> None:
    data = make_data(12, (3, 16, 16))
    own, model = learner(data), network(data, 3)
    passes: list[Tensor] = []
    model.register_forward_hook(lambda module, args, output: passes.append(args[0]))
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    for name in ("mixup", "cutmix"):
        passes.clear()
        loss = chain(name).around(plain, 0.0)(own.task, model, images, target, arrays.seeded(3))
        assert len(passes) == 1
        assert loss.shape == (12,)
        assert not torch.equal(passes[0], images)
        assert images.min() <= passes[0].min() <= passes[0].max() <= images.max()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_images_stay_in_their_ball_and_cost_more(norm: str) -> None:
    data = make_data(12, (3, 16, 16))
    own, model = learner(data), network(data, 3).eval()
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    seen: list[Tensor] = []

    def inner(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images.detach())
        return task.loss(model(images), targets)

    eps = 8 / 255 if norm == "linf" else 0.5
    chain(f"at[norm={norm},eps={eps}]").around(inner, 0.0)(own.task, model, images, target, arrays.seeded(0))
    change = (seen[-1] - images).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert float(size.max()) <= eps + 1e-5
    assert 0 <= float(seen[-1].min()) <= float(seen[-1].max()) <= 1
    worst, before = (own.task.loss(model(x), target).mean() for x in (seen[-1], images))
    assert worst > before


def test_ueraser_learns_the_worst_view_at_first_only() -> None:
    data = make_data(12, (3, 16, 16))
    own, model = learner(data), network(data, 3)
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    means = {}
    for mode, done in (("lite", 0.0), ("standard", 0.0), ("standard", 0.9), ("max", 0.9)):
        calls: list[int] = []

        def inner(*args: Any, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return plain(*args)

        defense = chain(f"ueraser:{mode}[policy=apbench]")
        losses = [
            defense.around(inner, done)(own.task, model.eval(), images, target, arrays.seeded(seed)).mean()
            for seed in range(3)
        ]
        means[mode, done] = float(torch.stack(losses).detach().mean()), len(calls)
    assert means["standard", 0.0][1] == means["max", 0.9][1] == 5 * means["lite", 0.0][1]
    assert means["standard", 0.9] == means["lite", 0.0]
    assert means["max", 0.9][0] > means["lite", 0.0][0]


def test_chains_apply_from_the_images_inwards() -> None:
    data = make_data(12, (3, 16, 16))
    own = learner(data)
    both = Chain.parse("jpeg:75+bdr[bits=3]+cutout", DEFENSES)
    assert both.label == "jpeg[quality=75]+bdr[bits=3]+cutout"
    one_by_one = chain("bdr[bits=3]").purify(chain("jpeg:75").purify(data, own), own)
    assert torch.equal(both.build().purify(data, own).pixels, one_by_one.pixels)
    keys = [Chain.parse(text, DEFENSES).key() for text in ("gray", "gray+cutout", "cutout+gray")]
    assert keys[0]["name"] == "gray"
    assert keys[1] != keys[2]
    for text in ("", "+", "gray+nonsense"):
        with pytest.raises(UsageError):
            Chain.parse(text, DEFENSES)
    assert next(iter(expanded(["worst", "none"]))) == "none"
    for name in expanded(["worst"]):
        chain(name)


def test_needs_are_named() -> None:
    data = make_data(12, (3, 16, 16))
    with pytest.raises(UsageError, match="held_out"):
        chain("denoise").purify(data, learner(data, clean=None))
    with pytest.raises(UsageError, match="method"):
        chain("adaptive").purify(data, learner(data, method=None))


def test_a_head_is_written_as_it_was_fitted() -> None:
    from sklearn.linear_model import LogisticRegression

    for classes in (2, 3):
        data = make_data(30, (3, 16, 16), classes)
        model = network(data, classes + 1).eval()
        images, labels = arrays.unit_images(data.pixels), data.targets["label"].numpy()
        with torch.no_grad():
            seen = features(model, images).double().numpy()
        center, scale = seen.mean(0), seen.std(0) + 1e-8
        fitted = LogisticRegression().fit((seen - center) / scale, labels)
        put_head(model, fitted.coef_, fitted.intercept_, fitted.classes_, (center, scale))
        with torch.no_grad():
            found = model(images).softmax(1)
        assert np.allclose(found[:, :classes].numpy(), fitted.predict_proba((seen - center) / scale), atol=1e-3)
        assert found[:, classes].max() < 1e-6, "a class that no clean image shows"


def test_fine_tuning_starts_from_another_data_set_and_keeps_the_head(tmp_path: Path) -> None:
    other = make_data(40, (1, 20, 20), 5)
    pixels, labels = other.pixels.permute(0, 2, 3, 1).numpy(), other.targets["label"].numpy()
    np.savez(tmp_path / "other.npz", x_train=pixels, y_train=labels, x_test=pixels[:10], y_test=labels[:10])
    data = make_data(12, (3, 16, 16))
    model, before = network(data, 3), network(data, 3)
    chain(f"fine-tune[data=npz[root={tmp_path / 'other.npz'}]]").before(model, data, learner(data))
    assert torch.equal(last_linear(model).weight, last_linear(before).weight)
    assert not torch.equal(next(iter(model.parameters())), next(iter(before.parameters())))
    assert model(arrays.unit_images(data.pixels)).shape == (12, 3)


@pytest.mark.parametrize(
    "name", ["none", "cutout", "mixup", "cutmix", "at", "ueraser:max", "ueraser:max[policy=apbench]", "coin+mixup"]
)
def test_a_probe_sees_what_the_loss_is_made_of(name: str) -> None:
    data = make_data(24, (3, 16, 16))
    own, model, defense = learner(data), network(data, 3).eval(), chain(name)
    seen = loss_inputs(defense, model, own.task, data, done=0.0, generator=arrays.seeded(0))
    assert torch.equal(seen.ids, data.ids)
    if name == "none":
        assert seen is data
        return
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    draws = [
        defense.around(plain, 0.0)(own.task, model, images, target, arrays.seeded(seed)).detach() for seed in range(20)
    ]
    measured = [
        own.task.loss(model(arrays.unit_images(one.pixels)), one.targets["label"]).detach()
        for seed in range(20)
        for one in [loss_inputs(defense, model, own.task, data, done=0.0, generator=arrays.seeded(seed))]
    ]
    spread = float(torch.stack(draws).mean(1).std())
    wanted, found = float(torch.stack(draws).mean()), float(torch.stack(measured).mean())
    assert abs(wanted - found) < 4 * spread / 20**0.5 + 0.02 * wanted


def test_train_asks_the_defense_anew_in_every_epoch() -> None:
    data = make_data(12, (3, 16, 16))
    asked: list[float] = []

    def around(inner: Any, done: float) -> Any:
        asked.append(done)
        return inner

    for _ in train(network(data, 3), data, classification()(data), replace(QUICK, epochs=4), around=around):
        pass
    assert asked == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("name", ["at+randaugment", "at+ueraser:lite"])
def test_adversarial_training_sees_through_augmentation(name: str, digits: Splits, task: Task) -> None:
    """Kornia's operations stand between the images and the network, some of them without a gradient."""
    data = digits.train.take(range(96))
    model = build(MODELS["lenet5"](), data.shape, task.outputs, generator=arrays.seeded(0))
    recipe = Recipe(epochs=2, batch_size=16, crop=0, flip=False)
    around = Chain.parse(name, DEFENSES).build().around
    losses = [epoch.loss for epoch in train(model, data, task, recipe, around=around, seed=0)]
    assert all(math.isfinite(loss) for loss in losses)
