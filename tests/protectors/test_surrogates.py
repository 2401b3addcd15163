"""The machinery of protectors with a surrogate, against independent references."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from howfar import arrays
from howfar.models import MODELS, build
from howfar.models.features import features, last_linear
from howfar.protectors import PROTECTORS, Draft
from howfar.protectors.contrastive import contrast
from howfar.protectors.dc import lookahead_loss
from howfar.protectors.entf import nearest_other
from howfar.protectors.minmin import alternate, share
from howfar.protectors.ntga import BIAS_VARIANCE, WEIGHT_VARIANCE, tangent_kernel
from howfar.protectors.pue import _perturbed
from howfar.protectors.surrogate import new_surrogate
from howfar.protectors.transforms import contrastive_view, resized_crop_flip
from howfar.protectors.tue import separability
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import adversarial
from howfar.training.precision import instructions

from ..conftest import make_data


@pytest.mark.parametrize("sizes", [[0.02, 0.03], 0.02], ids=["a step size a round", "one step size"])
def test_min_min_rounds_are_those_of_a_plain_loop(sizes: list[float] | float) -> None:
    """Four images share each noise; the last batch of 17 holds one image more, as none may stand alone."""
    data = make_data(17, (1, 8, 8), 2)
    task = classification()(data)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 2))
    with torch.no_grad():
        model[2].weight.copy_(torch.randn(2, 64, generator=arrays.seeded(0)))
    twin = copy.deepcopy(model)
    rows = torch.arange(17) % 4
    noise = 0.05 * torch.randn(4, 1, 8, 8, generator=arrays.seeded(1))
    expected = noise.clone()

    def learn(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return task.loss(model(images), target)

    def move(protected: torch.Tensor, target: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return task.loss(model(protected), target) + 0.3 * (protected - clean).flatten(1)[:, :32].sum(1)

    draft = Draft()
    work = alternate(
        data, task, model, noise, rows=rows, rounds=2, learn=learn, move=move, eps=0.1, steps=3, step_size=sizes,
        batch_size=8, lr=0.5, weight_decay=0.1, clip=0.7, generator=arrays.seeded(2), device=torch.device("cpu"),
        draft=draft,
    )  # fmt: skip
    told = [(step.done, step.total) for step in work]
    assert told == [(1, 2), (2, 2)]

    weights, speeds = list(twin.parameters()), [torch.zeros_like(weight) for weight in twin.parameters()]
    draws, images, labels = arrays.seeded(2), arrays.unit_images(data.pixels), data.targets["label"]
    losses = []
    for number in range(2):
        order = torch.randperm(17, generator=draws)
        batches, total = [order[:8], order[8:]], 0.0
        twin.train()
        for index, batch in enumerate(batches):
            seen = (images[batch] + expected[rows[batch]]).clamp(0, 1)
            loss = nn.functional.cross_entropy(twin(seen), labels[batch])
            slopes = torch.autograd.grad(loss, weights)
            total += float(loss.detach()) * len(batch)
            length = float(torch.cat([slope.flatten() for slope in slopes]).norm())
            lr = 0.5 * (1 + np.cos(np.pi * (number + index / 2) / 2)) / 2
            with torch.no_grad():
                for weight, slope, speed in zip(weights, slopes, speeds, strict=True):
                    speed.mul_(0.9).add_(slope * min(1, 0.7 / length) + 0.1 * weight)
                    weight.sub_(lr * speed)
        losses.append(total / 17)
        twin.eval()
        size = sizes[number] if isinstance(sizes, list) else sizes
        for batch in batches:
            moved = expected[rows[batch]].clamp(-0.1, 0.1)
            moved = (images[batch] + moved).clamp(0, 1) - images[batch]
            for _ in range(3):
                moved.requires_grad_()
                loss = nn.functional.cross_entropy(twin(images[batch] + moved), labels[batch], reduction="sum")
                (slope,) = torch.autograd.grad(loss + 0.3 * moved.flatten(1)[:, :32].sum(), moved)
                moved = (moved.detach() - size * slope.sign()).clamp(-0.1, 0.1)
                moved = (images[batch] + moved).clamp(0, 1) - images[batch]
            for row in rows[batch].unique():
                expected[row] = moved[rows[batch] == row].mean(0)
    assert losses[0] != pytest.approx(losses[1], rel=0.01)
    assert draft.curve == pytest.approx(losses, rel=1e-4)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(model.parameters(), weights, strict=True))
    assert float((noise - expected).abs().max()) < 1e-4
    assert not model.training


def test_shared_noise_is_the_mean_of_what_its_images_would_like() -> None:
    noise = torch.zeros(3, 1, 1, 1)
    moved = torch.tensor([0.2, 0.6, 0.9]).view(3, 1, 1, 1)
    share(noise, torch.tensor([2, 0, 2]), moved, 0.5)
    assert noise.flatten().tolist() == [0.5, 0.0, pytest.approx(0.5)], "0.6 is more than 0.5; (0.2 + 0.9) ÷ 2 as well"
    share(noise, torch.tensor([1, 2, 1]), -moved / 2, 0.5)
    assert noise.flatten().tolist() == [0.5, pytest.approx(-0.275), pytest.approx(-0.3)]
    share(noise, torch.tensor([2, 1, 0]), moved, 0.5)
    assert noise.flatten().tolist() == pytest.approx([0.9, 0.6, 0.2]), "noise of a single image is in the ball already"


def test_tangent_kernel_against_a_wide_erf_network() -> None:
    generator = arrays.seeded(0)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    exact = tangent_kernel(x, x, 1)
    width, total = 4096, torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(20):
        first = torch.randn(width, 6, generator=generator, dtype=torch.float64, requires_grad=True)
        bias = torch.randn(width, generator=generator, dtype=torch.float64, requires_grad=True)
        last = torch.randn(width, generator=generator, dtype=torch.float64, requires_grad=True)
        offset = torch.randn(1, generator=generator, dtype=torch.float64, requires_grad=True)
        hidden = torch.erf((WEIGHT_VARIANCE / 6) ** 0.5 * x @ first.T + BIAS_VARIANCE**0.5 * bias)
        out = (WEIGHT_VARIANCE / width) ** 0.5 * hidden @ last + BIAS_VARIANCE**0.5 * offset
        rows = []
        for value in out:
            slopes = torch.autograd.grad(value, [first, bias, last, offset], retain_graph=True)
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        jacobian = torch.stack(rows)
        total += jacobian @ jacobian.T / 20
    assert torch.allclose(exact, total, rtol=0.03, atol=0.02)


def test_ntga_steps_go_on_where_the_last_one_ended() -> None:
    data = make_data(24, (1, 8, 8), 3)
    task = classification()(data)

    def noise(**settings: object) -> torch.Tensor:
        protector = PROTECTORS["ntga"](validation=12, block=12, **settings)
        return protector.protect(data, task, generator=arrays.seeded(0)).pixels.int() - data.pixels.int()

    once, many = noise(one_step=True), noise(steps=8)
    free = (data.pixels > 8) & (data.pixels < 247)
    assert set(once[free].unique().tolist()) == {-8, 8}
    assert not torch.equal(once, many)


class Smooth(nn.Module):
    """A small network without kinks, for finite differences."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 5), nn.Linear(5, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(images.flatten(1)).tanh()).view(len(images), -1)


class Maker(nn.Module):
    """Noise that is linear in one number."""

    def __init__(self, pattern: torch.Tensor) -> None:
        super().__init__()
        self.pattern, self.strength = pattern, nn.Parameter(torch.tensor(0.02, dtype=torch.float64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.strength * self.pattern.expand_as(images)


def test_dc_differentiates_through_the_step_of_the_classifier() -> None:
    torch.manual_seed(0)
    data = make_data(6, (1, 4, 4), 3)
    images, target = arrays.unit_images(data.pixels).double() * 0.5 + 0.25, data.targets["label"]
    task, model = classification()(data), Smooth(16, 3).double()
    maker = Maker(torch.randn(1, 1, 4, 4, dtype=torch.float64))
    (slope,) = torch.autograd.grad(lookahead_loss(task, model, maker, images, target, lr=0.5), maker.strength)
    values = []
    for shift in (1e-4, -1e-4):
        other = copy.deepcopy(maker)
        with torch.no_grad():
            other.strength += shift
        values.append(float(lookahead_loss(task, model, other, images, target, lr=0.5).detach()))
    assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-4)
    assert float(slope) != 0


def test_contrast_equals_its_definition() -> None:
    found = torch.randn(6, 4, generator=arrays.seeded(0))
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    unit = found / found.norm(dim=1, keepdim=True)
    for i, loss in enumerate(contrast(found, labels, 0.5)):
        others = [j for j in range(6) if j != i]
        whole = torch.stack([unit[i] @ unit[j] / 0.5 for j in others]).logsumexp(0)
        partners = [j for j in others if labels[j] == labels[i]]
        wanted = np.mean([float(whole - unit[i] @ unit[j] / 0.5) for j in partners]) if partners else 0.0
        assert float(loss) == pytest.approx(wanted, abs=1e-5)


def test_separability_is_low_for_tight_and_distant_classes() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    centers = torch.tensor([[5.0, 0.0], [-5.0, 0.0]])[labels]
    spread = torch.randn(6, 2, generator=arrays.seeded(0))
    tight, loose = separability(centers + 0.1 * spread, labels), separability(centers + 3 * spread, labels)
    assert float(tight) < 0.1 < float(loose)
    assert float(separability(spread, torch.zeros(6, dtype=torch.int64))) == 0


def test_views_keep_gradients_shapes_and_range() -> None:
    images = torch.rand(32, 3, 10, 14, generator=arrays.seeded(0)).requires_grad_()
    views = contrastive_view(images, 1.0, arrays.seeded(1))
    assert views.shape == images.shape
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1
    (slope,) = torch.autograd.grad(views.sum(), images)
    assert torch.isfinite(slope).all()
    same = resized_crop_flip(images.detach(), 1.0, arrays.seeded(2))  # at full area some are whole, some mirrored
    assert torch.equal(contrastive_view(images, 1.0, arrays.seeded(1)), views), "same seed, same views"
    assert same.shape == images.shape
    gray = contrastive_view(torch.rand(8, 1, 8, 8), 1.0, arrays.seeded(0))
    assert gray.shape == (8, 1, 8, 8)


def test_adversarial_loss_is_higher_and_leaves_training_mode() -> None:
    data = make_data(16)
    task = classification()(data)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0)).eval()
    images = arrays.unit_images(data.pixels)
    worst = adversarial(task, model.train(), images, data.targets["label"], arrays.seeded(0), eps=0.1)
    assert model.training
    model.train()
    assert float(worst.mean()) > float(task.loss(model(images), data.targets["label"]).mean())


def test_features_feed_the_last_layer() -> None:
    model = build(MODELS["resnet8"](width=4), (3, 12, 12), 5, generator=arrays.seeded(0)).eval()
    images = torch.rand(3, 3, 12, 12)
    assert torch.allclose(model.head(features(model, images)), model(images))
    assert not model.head._forward_pre_hooks


def test_nearest_other_centroid_is_never_the_own_one() -> None:
    model = build(MODELS["resnet8"](width=4), (3, 12, 12), 3, generator=arrays.seeded(0)).eval()
    images = torch.rand(6, 3, 12, 12)
    middles = features(model, images)[:3].detach() + torch.tensor([[0.0], [30.0], [60.0]])
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = nearest_other(features(model, images).detach(), target, middles)
    assert not any(torch.equal(row, middles[label]) for row, label in zip(found, target, strict=True))


def test_disturbed_surrogate_is_a_copy_at_the_stated_distance() -> None:
    model = build(MODELS["resnet8"](width=4), (3, 12, 12), 3, generator=arrays.seeded(0))
    before = copy.deepcopy(model.state_dict())
    near = _perturbed(model, 0.25, arrays.seeded(0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    gap = (near.conv1.weight - model.conv1.weight).norm() / model.conv1.weight.norm()
    assert float(gap) == pytest.approx(0.25, rel=1e-4)


def test_published_settings_have_a_name() -> None:
    spec = parse("tap[paper,eps=4/255]", PROTECTORS, "protector")
    assert spec.settings["steps"] == 250
    assert spec.settings["eps"] == 4 / 255
    assert parse(spec.label, PROTECTORS, "protector").settings == spec.settings
    for name, factory in PROTECTORS.items():
        if name != "import":
            assert parse(f"{name}[paper]", PROTECTORS, "protector").build(), factory


def test_ops_after_em_keeps_both(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = make_data(30)
    task = classification()(data)
    small = "em[rounds=2,steps=2,train_steps=2,surrogate=resnet8[width=2]]"
    both = parse(f"ops[after={small}]", PROTECTORS, "protector").build()
    found = both.protect(data, task, generator=arrays.seeded(0)).pixels
    em = parse(small, PROTECTORS, "protector").build().protect(data, task, generator=arrays.seeded(0)).pixels
    ops = PROTECTORS["ops"]().protect(data, task, generator=arrays.seeded(0)).pixels
    pixel = (ops != data.pixels).any(1, keepdim=True).expand_as(ops)
    assert torch.equal(found[pixel], ops[pixel])
    assert torch.equal(found[~pixel], em[~pixel])


def test_a_draft_of_another_stage_is_not_mistaken(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("draft") / "draft"
    values, generator = torch.arange(3.0), arrays.seeded(0)
    first = Draft(path, every=0.0)
    assert first.enter("one", values=values, generator=generator) == 0
    values += 1
    torch.rand(5, generator=generator)
    first.keep(4, 0.5)
    later = torch.rand(3, generator=generator)
    again, source = torch.zeros(3), arrays.seeded(9)
    second = Draft(path, every=0.0)
    assert second.reached("one")
    assert not second.reached("two")
    assert second.enter("one", values=again, generator=source) == 4
    assert second.curve == [0.5], "what was read before a kill is known after it"
    assert torch.equal(again, values)
    assert torch.equal(torch.rand(3, generator=source), later)
    assert second.enter("two", values=again) == 0
    assert Draft(path).reached("two")
    second.discard()
    assert not path.exists()
    assert Draft().enter("any", values=again) == 0


def test_a_surrogate_takes_the_precision_of_the_machine_and_returns_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    instructions.cache_clear()
    try:
        data = make_data(8, (3, 8, 8), 2)
        surrogate = new_surrogate(
            "resnet8[width=4]", data, 2, generator=arrays.seeded(0), device=torch.device("cpu")
        ).eval()
        dtypes = []
        last_linear(surrogate).register_forward_hook(lambda _, inputs, output: dtypes.append(output.dtype))
        images = arrays.unit_images(data.pixels).requires_grad_()
        output = surrogate(images)
        output.sum().backward()
        twin = copy.deepcopy(surrogate)
        with torch.no_grad():
            last_linear(twin).weight.zero_()
            last_linear(twin).bias.zero_()
        assert dtypes == [torch.bfloat16]
        assert output.dtype == images.grad.dtype == features(surrogate, images).dtype == torch.float32
        assert output.abs().max() > 0
        assert not twin(images).any()
    finally:
        instructions.cache_clear()


@pytest.mark.parametrize("harm", ["curve", "rounds", "negative", "shape", "missing", "generator", "optimizer", "short"])
def test_a_spoilt_draft_begins_anew_and_changes_nothing(harm: str, tmp_path: Path) -> None:
    def parts() -> dict[str, Any]:
        network = torch.nn.Linear(2, 1)
        return {
            "values": torch.arange(3.0), "generator": arrays.seeded(0), "network": network,
            "optimizer": torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        }  # fmt: skip

    path, kept = tmp_path / "draft", parts()
    kept["network"](torch.ones(1, 2)).sum().backward()
    kept["optimizer"].step()
    first = Draft(path, every=0.0)
    first.enter("one", **kept)
    first.keep(4, 0.5)
    with safe_open(path, "pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    about |= {"curve": {"curve": "3"}, "rounds": {"rounds": "x"}, "negative": {"rounds": "-1"}}.get(harm, {})
    if harm == "missing":
        del tensors["network/weight"]
    tensors |= {
        "shape": {"values/": torch.zeros(1)}, "generator": {"generator/": torch.zeros(3, dtype=torch.uint8)},
        "optimizer": {"optimizer/9.momentum_buffer": torch.zeros(1)},
    }.get(harm, {})  # fmt: skip
    save_file(tensors, path, about)
    if harm == "short":
        path.write_bytes(path.read_bytes()[:-4])
    fresh = parts()
    weights = fresh["network"].weight.clone()
    again = Draft(path, every=0.0)
    assert again.enter("one", **fresh) == 0
    assert again.curve == []
    assert torch.equal(fresh["values"], torch.arange(3.0))
    assert torch.equal(fresh["network"].weight, weights)
    assert fresh["optimizer"].state_dict()["state"] == {}
