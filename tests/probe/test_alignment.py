"""Alignment against closed forms, and its standard error against the scatter over samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howfar import alignment, arrays
from howfar.data import DATASETS, Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.probe.alignment import NETWORK, layers_and_network
from howfar.spec import parse
from howfar.tasks import TASKS, classification


def images(pixels: Tensor, labels: Tensor) -> Data:
    return Data(pixels.to(torch.uint8), {"label": labels}, torch.arange(len(pixels)))


def noise(count: int, *, seed: int = 0) -> Data:
    """Return noisy images of two classes, one bright at the top and one at the bottom."""
    draws = arrays.seeded(seed)
    labels = torch.randint(0, 2, (count,), generator=draws)
    rows = torch.arange(8).view(1, 1, 8, 1) < 4
    bright = torch.where(rows == (labels.view(-1, 1, 1, 1) > 0), 80, 0)
    return images(bright + torch.randint(0, 176, (count, 1, 8, 8), generator=draws), labels)


def flat(data: Data) -> nn.Module:
    """Return a linear network whose weights are 0: its gradients are (1/2 − y) x."""
    model = build(MODELS["linear"](), data.shape, 2, generator=arrays.seeded(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def test_equal_images_are_aligned_perfectly() -> None:
    data = noise(20)
    task = classification()(data)
    model = build(MODELS["lenet5"](), data.shape, 2, generator=arrays.seeded(0))
    for one in alignment(model, data, data, task).values():
        assert one.cosine == pytest.approx(1, abs=1e-6)
        assert np.isnan(one.unbiased) or one.unbiased == pytest.approx(1, abs=1e-6)
        assert one.standard_error == pytest.approx(0, abs=1e-6)
        assert one.clean_norm == pytest.approx(one.protected_norm)
        assert one.clean_norm > 0


def test_opposite_labels_are_opposed() -> None:
    data = noise(20)
    turned = replace(data, targets={"label": 1 - data.targets["label"]})
    (found,) = alignment(flat(data), data, turned, classification()(data)).values()
    assert found.cosine == pytest.approx(-1, abs=1e-6)
    assert found.clean_norm == pytest.approx(found.protected_norm)


def test_a_shortcut_in_other_pixels_is_orthogonal() -> None:
    data = noise(20)
    upper, lower = data.pixels.clone(), torch.zeros_like(data.pixels)
    upper[:, :, 4:] = 0
    lower[:, :, 4:] = torch.where(data.targets["label"].view(-1, 1, 1, 1) > 0, 255, 0).to(torch.uint8)
    (found,) = alignment(
        flat(data), data.with_pixels(upper), data.with_pixels(lower), classification()(data)
    ).values()  # fmt: skip
    assert found.cosine == pytest.approx(0, abs=1e-7)


def test_the_cosine_is_that_of_the_gradients_of_the_mean_losses() -> None:
    clean, model = noise(30), build(MODELS["lenet5"](), (1, 8, 8), 2, generator=arrays.seeded(1))
    protected, task = clean.with_pixels(255 - clean.pixels), classification()(clean)
    found = layers_and_network(model, task, clean, protected)
    gradients = {}
    for name, data in (("clean", clean), ("protected", protected)):
        model.eval()
        model.zero_grad()
        task.loss(model(arrays.to_images(data.pixels, torch.device("cpu"))), data.targets["label"]).mean().backward()
        gradients[name] = {n: p.grad.double().flatten() for n, p in model.named_parameters() if n in found}  # type: ignore[union-attr]
    for name in gradients["clean"]:
        a, b = gradients["clean"][name], gradients["protected"][name]
        assert found[name].cosine == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-5)
        assert found[name].clean_norm == pytest.approx(float(a.norm()), rel=1e-4)
        assert found[name].protected_norm == pytest.approx(float(b.norm()), rel=1e-4)
    a, b = (torch.cat(list(gradients[name].values())) for name in ("clean", "protected"))
    assert found[NETWORK].cosine == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-5)
    (whole,) = alignment(model, clean, protected, task, by="network").values()
    assert whole == found[NETWORK]


def test_channels_of_a_layer_add_up_to_it() -> None:
    clean, model = noise(16), build(MODELS["lenet5"](), (1, 8, 8), 2, generator=arrays.seeded(1))
    protected, task = clean.with_pixels(255 - clean.pixels), classification()(clean)
    layers = alignment(model, clean, protected, task)
    channels = alignment(model, clean, protected, task, by="channel")
    for name, layer in layers.items():
        parts = [one for key, one in channels.items() if key.startswith(f"{name}[")]
        assert sum(one.clean_norm**2 for one in parts) == pytest.approx(layer.clean_norm**2)
        products = [np.nan_to_num(one.cosine) * one.clean_norm * one.protected_norm for one in parts]
        assert sum(products) == pytest.approx(layer.cosine * layer.clean_norm * layer.protected_norm)


def test_order_makes_no_difference_and_the_network_is_left_as_it_was() -> None:
    clean, model = noise(24), build(MODELS["resnet8"](width=4), (1, 8, 8), 2, generator=arrays.seeded(0))
    protected, task = clean.with_pixels(clean.pixels.flip(3)), classification()(clean)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = alignment(model, clean, protected, task)
    mixed = torch.randperm(24, generator=arrays.seeded(3))
    assert alignment(model, clean.take(mixed), protected.take(mixed.flip(0)), task) == first
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_standard_error_is_the_scatter_over_samples() -> None:
    """A linear network with fixed weights; samples of one large set, whose protected images show a bright side too."""
    large = noise(20_000)
    left = torch.arange(8) < 4
    side = torch.where(left == (large.targets["label"].view(-1, 1, 1, 1) > 0), 110, 0)
    other = large.with_pixels(((large.pixels.int() + side).clamp_max(255)).to(torch.uint8))
    model, task = flat(large), classification()(large)
    found = []
    mixed = torch.randperm(20_000, generator=arrays.seeded(2))
    kinds = [mixed[large.targets["label"][mixed] == kind][:9000].view(100, 90) for kind in (0, 1)]
    for part in torch.cat(kinds, 1):
        (one,) = alignment(model, large.take(part), other.take(part), task).values()
        found.append((one.cosine, one.standard_error))
    scatter, error = np.std([cosine for cosine, _ in found], ddof=1), np.sqrt(np.mean([e**2 for _, e in found]))
    assert 0.75 < error / scatter < 1.35


def test_the_unbiased_cosine_is_not_shrunk_by_the_scatter_of_images() -> None:
    """Gradients with a common part and independent noise: the cosine of the common parts is 1."""
    draws = arrays.seeded(5)
    labels = torch.arange(64) % 2
    signal = torch.where(labels.view(-1, 1, 1, 1) > 0, 150, 105)
    one, two = ((signal + torch.randint(-100, 101, (64, 1, 8, 8), generator=draws)).clamp(0, 255) for _ in range(2))
    clean, protected = images(one, labels), images(two, labels)
    (found,) = alignment(flat(clean), clean, protected, classification()(clean)).values()
    assert found.cosine < 0.95
    assert found.unbiased == pytest.approx(1, abs=0.12)


def test_dense_and_joint_tasks_are_measured_too() -> None:
    rooms = parse("rooms[size=16,train=20,test=10]", DATASETS, "dataset").build().train
    for name in ("normal", "joint:class_scene+depth_euclidean"):
        task = parse(name, TASKS, "task").build()(rooms)
        model = build(MODELS["resnet8"](width=4), rooms.shape, task.outputs, generator=arrays.seeded(0))
        found = alignment(model, rooms, rooms.with_pixels(rooms.pixels.flip(2)), task)
        assert all(-1 <= one.cosine < 1 for one in found.values())


def test_what_does_not_fit_is_refused() -> None:
    data = noise(8)
    model, task = flat(data), classification()(data)
    with pytest.raises(UsageError, match="different ids"):
        alignment(model, data, replace(data, ids=data.ids + 1), task)
    with pytest.raises(UsageError, match="at least two images"):
        alignment(model, data.take([0]), data.take([0]), task)
    with pytest.raises(UsageError, match="no parameters of kind none"):
        alignment(model, data, data, task, include=())


def test_a_dead_layer_has_no_direction() -> None:
    data = noise(8)
    black = data.with_pixels(torch.zeros_like(data.pixels))
    (found,) = alignment(flat(data), data, black, classification()(data)).values()
    assert np.isnan(found.cosine)
    assert found.protected_norm == 0
