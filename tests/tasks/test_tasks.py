"""Tasks: metrics against references, chance, masks, and what a mirror does."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_jaccard_index, multilabel_f1_score
from torchmetrics.functional.image import peak_signal_noise_ratio

from howfar import arrays
from howfar.arrays import VOID
from howfar.data import Data
from howfar.errors import HowfarError
from howfar.models import MODELS, build
from howfar.report.numbers import shown
from howfar.spec import parse
from howfar.tasks import TASKS, Task, gain, quality_gain
from howfar.tasks.task import weighted_median
from howfar.training import Recipe, evaluate, train
from howfar.training.augment import Moves

from ..conftest import make_data

SIDE = 16
MIRROR = torch.diag(torch.tensor([-1.0, 1.0]))
NAMES = [name for name in TASKS if name not in ("joint", "classification")]
JOINT = "joint:class_scene+segment_semantic+normal"


def scenes(n: int = 40, seed: int = 0) -> Data:
    """Return random images with every target of rooms; some pixels have no target."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((n, 3, SIDE, SIDE))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    depth = rng.uniform(0.5, 6, (n, 1, SIDE, SIDE))
    depth[:, :, :2], normal[:, :, :2] = np.nan, np.nan
    segment = rng.integers(0, 4, (n, SIDE, SIDE))
    segment[:, :2] = VOID
    targets = {
        "class_scene": torch.arange(n) % 3,
        "class_object": torch.from_numpy(rng.integers(0, 2, (n, 5)).astype(np.uint8)),
        "segment_semantic": torch.from_numpy(segment.astype(np.uint8)),
        "depth_euclidean": torch.from_numpy(depth).half(),
        "depth_zbuffer": torch.from_numpy(depth * 0.9).half(),
        "normal": torch.from_numpy(normal).half(),
        "reshading": torch.from_numpy(rng.uniform(0, 1, (n, 1, SIDE, SIDE))).half(),
        "edge_occlusion": torch.from_numpy(rng.uniform(0, 1, (n, 1, SIDE, SIDE)) ** 4).half(),
    }
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 3, SIDE, SIDE)).astype(np.uint8))
    return Data(pixels, targets, torch.arange(n) * 5 + 2)


def uneven(data: Data) -> Data:
    """Return the same with targets that are missing at another share of the places of every image."""
    rng = np.random.default_rng(1)
    share = torch.from_numpy(rng.uniform(0, 0.9, (len(data), 1, 1)))
    gone = torch.from_numpy(rng.uniform(0, 1, (len(data), SIDE, SIDE))) < share
    dense = {name: values for name, values in data.targets.items() if values.ndim > 2}
    holes = {
        name: torch.where(gone if values.ndim == 3 else gone[:, None], arrays.missing_value(values), values)
        for name, values in dense.items()
    }
    return Data(data.pixels, {**data.targets, **holes}, data.ids)


def made(name: str, data: Data) -> Task:
    return parse(name, TASKS, "task").build()(data)


def outputs_like(task: Task, n: int, seed: int = 0) -> Tensor:
    shape = (n, int(task.outputs)) + ((SIDE, SIDE) if isinstance(task.outputs, arrays.PerPixel) else ())
    return torch.randn(shape, generator=arrays.seeded(seed))


@pytest.mark.parametrize("name", [*NAMES, JOINT])
def test_every_task_trains_any_backbone_and_is_evaluated(name: str) -> None:
    data = scenes()
    task = made(name, data)
    prepared = task.prepare(data)
    assert task.prepare(prepared).pixels is prepared.pixels
    model = build(MODELS["resnet8"](width=4), data.shape, task.outputs, generator=arrays.seeded(0))
    recipe = Recipe(epochs=1, batch_size=8, crop=1, flip=True)
    (epoch,) = train(model, prepared, task, recipe)
    found = evaluate(model, prepared, task)
    assert math.isfinite(epoch.loss)
    assert all(math.isfinite(value) for value in found.values())
    assert task.metric in found


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_takes_dense_and_joint_heads(name: str) -> None:
    data = scenes(6)
    small = {"resnet50": {"width": 4}, "densenet121": {"growth": 4}, "vit-small": {"width": 16, "depth": 1, "heads": 2},
             "pretrained": {"data": "digits", "network": "resnet8[width=8]"}}  # fmt: skip
    sizes = small.get(name, {"width": 8} if name in ("resnet8", "resnet18", "senet18", "mobilenetv2") else {})
    for shape in ((3, SIDE, SIDE), (3, 20, 28)):
        images = torch.rand(2, *shape)
        for task in (made("normal", data), made("autoencoding", data), made(JOINT, data)):
            model = build(MODELS[name](**sizes), shape, task.outputs, generator=arrays.seeded(0)).eval()
            output = model(images)
            if isinstance(task.outputs, arrays.Heads):
                assert output["class_scene"].shape == (2, 3)
                assert output["normal"].shape == (2, 3, *shape[1:])
            else:
                assert output.shape == (2, int(task.outputs), *shape[1:])


@pytest.mark.parametrize("absent", [False, True])
def test_segmentation_agrees_with_scikit_learn_and_torchmetrics(absent: bool) -> None:
    """A class that is predicted but occurs nowhere counts as 0."""
    data = scenes()
    task = made("segment_semantic", data)
    target = data.targets["segment_semantic"].clone()
    if absent:
        target[target == 2] = 1
    output = outputs_like(task, len(data))
    parts = [task.statistics(output[k : k + 7], target[k : k + 7]) for k in range(0, len(data), 7)]
    found = task.metrics(torch.stack(parts).sum(0))
    valid = target != VOID
    message = output.argmax(1)[valid].numpy()
    true = target[valid].numpy()
    assert found["mIoU"] == pytest.approx(jaccard_score(true, message, average="macro"))
    expected = multiclass_jaccard_index(output.argmax(1), target.long(), num_classes=4, ignore_index=VOID)
    assert found["mIoU"] == pytest.approx(float(expected), rel=1e-5)
    occurring = jaccard_score(true, message, average="macro", labels=np.unique(true))
    assert found["mIoU of true classes"] == pytest.approx(occurring)
    assert (found["mIoU"] < found["mIoU of true classes"] - 0.02) == absent
    assert found["pixel accuracy"] == pytest.approx(float((message == target[valid].numpy()).mean()))


def test_depth_metrics_are_those_of_the_field() -> None:
    data = scenes()
    task = made("depth_euclidean", data)
    target = data.targets["depth_euclidean"]
    output = outputs_like(task, len(data)) * 0.3
    found = task.metrics(task.statistics(output, target))
    valid = torch.isfinite(target)
    true = target[valid].double().numpy()
    message = np.exp((output.double() * task.spread + task.middle)[valid].numpy())  # type: ignore[attr-defined]
    assert found["abs rel"] == pytest.approx(np.mean(np.abs(message - true) / true), rel=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((message - true) ** 2)), rel=1e-4)
    assert found["delta 1.25"] == pytest.approx(np.mean(np.maximum(message / true, true / message) < 1.25), abs=1e-4)
    assert found["log error"] == pytest.approx(np.mean(np.abs(np.log(message) - np.log(true))), rel=1e-4)


def test_normals_are_judged_by_their_angle() -> None:
    data = scenes()
    task = made("normal", data)
    target = data.targets["normal"]
    output = outputs_like(task, len(data)).double()
    found = task.metrics(task.statistics(output.float(), target))
    true = target.double()
    cosine = (output * true).sum(1) / output.norm(dim=1) / true.norm(dim=1)
    angle = np.degrees(np.arccos(cosine[torch.isfinite(cosine)].clamp(-1, 1).numpy()))
    assert found["mean angle"] == pytest.approx(angle.mean(), rel=1e-4)
    assert found["median angle"] == pytest.approx(np.median(angle), abs=0.02)
    assert found["below 30°"] == pytest.approx((angle < 30).mean(), abs=1e-3)
    assert found["below 11.25°"] == pytest.approx((angle < 11.25).mean(), abs=1e-3)


def test_the_median_angle_is_interpolated() -> None:
    """Not the end of a bin of a quarter of a degree."""
    data = scenes()
    task = made("normal", data)
    for wanted in (3.05, 10.13, 41.7):
        angles = torch.linspace(wanted - 2, wanted + 2, 16 * 16).deg2rad().view(1, 1, 16, 16)
        output = torch.cat([angles.sin(), torch.zeros_like(angles), angles.cos()], 1)
        target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(output)
        found = task.metrics(task.statistics(output, target))
        assert found["median angle"] == pytest.approx(wanted, abs=0.01)


def test_chance_of_normals_is_the_least_mean_angle() -> None:
    """Of walls that face one of two ways, the mean direction faces neither; most of them face the first one."""
    one, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    vectors = torch.stack([one if number % 5 < 3 else other for number in range(40)])
    data = scenes(40)
    normal = vectors.view(40, 3, 1, 1).expand(40, 3, SIDE, SIDE)
    task = made("normal", Data(data.pixels, {"normal": normal}, data.ids))
    assert task.chance == pytest.approx(0.4 * 90, abs=0.5)
    mean = vectors.mean(0).view(1, 3, 1, 1).expand(40, 3, SIDE, SIDE)
    assert task.metrics(task.statistics(mean, normal))["mean angle"] > task.chance + 3


@pytest.mark.parametrize("absent", [False, True])
def test_labels_agree_with_torchmetrics(absent: bool) -> None:
    """A label that is predicted but occurs nowhere counts as 0."""
    data = scenes()
    task = made("class_object", data)
    target, output = data.targets["class_object"].clone(), outputs_like(task, len(data))
    if absent:
        target[:, 3] = 0
    expected = multilabel_f1_score((output > 0).int(), target.int(), num_labels=5, average="macro")
    assert task.metrics(task.statistics(output, target))["f1"] == pytest.approx(float(expected), rel=1e-5)


def test_labels_agree_with_scikit_learn() -> None:
    data = scenes()
    task = made("class_object", data)
    target, output = data.targets["class_object"], outputs_like(task, len(data))
    found = task.metrics(task.statistics(output, target))
    assert found["f1"] == pytest.approx(f1_score(target.numpy(), (output > 0).numpy(), average="macro"))
    assert found["label accuracy"] == pytest.approx(float(((output > 0) == (target > 0)).float().mean()))


def test_psnr_agrees_with_torchmetrics() -> None:
    data = scenes()
    task = made("autoencoding", data)
    target = task.prepare(data).targets["autoencoding"]
    output = outputs_like(task, len(data)).clamp(-1, 1)
    found = task.metrics(task.statistics(output, target))
    expected = peak_signal_noise_ratio(
        (output + 1) / 2, target / 255, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean"
    )
    assert found["PSNR"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_what_a_constant_answer_gets(name: str) -> None:
    """No other constant that is tried does better, on the very targets."""
    data = scenes()
    task = made(name, data)
    target = task.prepare(data).targets[task.target]
    sign = 1 if task.higher_is_better else -1
    for seed in range(5):
        one = outputs_like(task, 1, seed)
        constant = one.expand(len(data), *one.shape[1:])
        value = task.metrics(task.statistics(constant, target))[task.metric]
        assert sign * value <= sign * task.chance + 1e-6


@pytest.mark.parametrize("name", ["classification[target=class_scene]", *NAMES])
def test_quality_has_the_chance_of_its_own_measure(name: str) -> None:
    """No constant does better in the mean over images, even where they have targets at different shares of places."""
    data = uneven(scenes())
    task = made(name, data)
    target = task.prepare(data).targets[task.target]
    sign = 1 if task.higher_is_better else -1
    for seed in range(5):
        one = outputs_like(task, 1, seed)
        quality = task.quality(one.expand(len(data), *one.shape[1:]), target).double().nanmean()
        assert sign * float(quality) <= sign * task.quality_chance + 1e-6
    assert float(quality_gain(task, torch.tensor(task.quality_chance))) == pytest.approx(0, abs=1e-6)


def test_the_gain_of_a_constant_prediction_is_not_above_chance() -> None:
    """Pixel accuracy was held against the chance of mIoU, so that the commonest class of every place gained 0.4."""
    data = uneven(scenes())
    target = data.targets["segment_semantic"]
    task = made("segment_semantic", data)
    counts = torch.stack([(target == label).sum(0) for label in range(4)])
    constant = functional.one_hot(counts.argmax(0), 4).permute(2, 0, 1)[None].float().expand(len(data), -1, -1, -1)
    assert float(quality_gain(task, task.quality(constant, target).nanmean())) <= 1e-6
    assert float(gain(task, torch.tensor(task.metrics(task.statistics(constant, target))["mIoU"]))) == pytest.approx(0)
    joint = made("joint:segment_semantic+depth_euclidean", data)
    depth = torch.zeros(len(data), 1, SIDE, SIDE)
    output = {"segment_semantic": constant, "depth_euclidean": depth}
    quality = joint.quality(output, data.targets_of(joint.target))
    assert float(quality.mean()) < 0.01, "no constant prediction is above chance"


def test_the_median_has_the_weights_of_the_images() -> None:
    values = torch.tensor([[3.0, float("nan")], [1.0, 5.0], [2.0, 7.0]])
    found = weighted_median(values, torch.tensor([3.0, 1.0, 1.0]))
    assert torch.equal(found, torch.tensor([[3.0, 5.0]]))
    assert weighted_median(torch.full((2, 1), float("nan")), torch.ones(2)).isnan().all()


@pytest.mark.parametrize("name", ["segment_semantic", "depth_euclidean", "normal", "reshading", "edge_occlusion"])
def test_what_nothing_enters_is_unknown_and_not_perfect(name: str) -> None:
    data = scenes(4)
    task = made(name, data)
    target = torch.full_like(data.targets[task.target], arrays.missing_value(data.targets[task.target]))
    output = outputs_like(task, 4)
    found = task.metrics(task.statistics(output, target))
    assert found
    assert all(math.isnan(value) for value in found.values())
    assert task.quality(output, target).isnan().all()
    assert shown(task.metric, found[task.metric]) == "–"


def test_f1_of_edges_that_are_neither_there_nor_predicted_is_unknown() -> None:
    data = scenes(4)
    task = made("edge_occlusion", data)
    flat = torch.zeros_like(data.targets["edge_occlusion"])
    found = task.metrics(task.statistics(torch.full(flat.shape, -5.0), flat))
    assert math.isnan(found["f1"])
    assert found["mean error"] > 0


@pytest.mark.parametrize("name", ["segment_semantic", "depth_euclidean", "normal"])
def test_pixels_without_an_answer_enter_neither_loss_nor_gradient(name: str) -> None:
    data = scenes()
    task = made(name, data)
    target = data.targets[task.target]
    output = outputs_like(task, len(data)).requires_grad_()
    loss = task.loss(output, target)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert output.grad is not None
    assert output.grad[:, :, :2].abs().max() == 0
    assert output.grad[:, :, 2:].abs().min() >= 0
    other = output.detach().clone()
    other[:, :, :2] = 1e3
    assert torch.equal(task.loss(other, target), loss)
    assert torch.equal(task.statistics(other, target), task.statistics(output.detach(), target))


def test_an_image_without_any_answer_costs_nothing() -> None:
    data = scenes()
    for name in ("segment_semantic", "depth_euclidean", "normal"):
        task = made(name, data)
        empty = torch.full_like(data.targets[task.target], VOID if name.startswith("seg") else float("nan"))
        output = outputs_like(task, len(data)).requires_grad_()
        loss = task.loss(output, empty)
        loss.sum().backward()
        assert loss.abs().max() == 0
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()


def test_maps_move_with_their_images() -> None:
    rows = torch.arange(SIDE * SIDE).view(1, 1, SIDE, SIDE).expand(8, 1, -1, -1)
    pixels = (rows % 251).to(torch.uint8)
    segment = (rows[:, 0] % 251).to(torch.uint8)
    depth = (rows % 251).float()
    moves = Moves.drawn(pixels.shape, crop=3, flip=True, generator=arrays.seeded(0))
    moved = moves.of_images(pixels)
    inside = torch.isfinite(moves.of_map(depth))
    assert torch.equal(moves.of_map(depth)[inside], moved.float()[inside])
    assert torch.equal(moves.of_map(segment)[:, None][inside], moved[inside])
    assert (moves.of_map(segment)[:, None][~inside] == VOID).all()
    assert not inside.all()


def test_a_mirror_turns_normals_around() -> None:
    data = scenes()
    task = made("normal", data)
    before = data.targets["normal"]
    after = task.transformed(before, MIRROR.expand(len(data), 2, 2))
    assert torch.equal(after[:, 0].nan_to_num(), -before[:, 0].nan_to_num())
    assert torch.equal(after[:, 1:].nan_to_num(), before[:, 1:].nan_to_num())


def test_a_mirrored_room_trains_the_same_as_a_room_seen_in_a_mirror() -> None:
    """The loss of a mirrored image and target is that of mirrored output, so the sign is right."""
    data = scenes(4)
    task = made("normal", data)
    target = data.targets["normal"]
    output = outputs_like(task, 4)
    linear = MIRROR.expand(4, 2, 2)
    seen = task.transformed(output.flip(3), linear)
    assert torch.allclose(
        task.loss(seen, task.transformed(target.flip(3), linear)), task.loss(output, target), atol=1e-6
    )


def test_images_turn_by_their_id() -> None:
    data = scenes(8)
    task = made("rotation", data)
    prepared = task.prepare(data)
    shuffled = task.prepare(data.take(torch.arange(7, -1, -1)))
    assert torch.equal(shuffled.pixels, prepared.pixels.flip(0))
    turned = prepared.targets["rotation"] == 1
    assert torch.equal(prepared.pixels[turned], data.pixels[turned].rot90(1, (2, 3)))


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_a_mirrored_turn_goes_the_other_way(shape: tuple[int, int]) -> None:
    """Else a learner that mirrors could not tell left turns from right ones."""
    data = make_data(8, (3, *shape))
    task = made("rotation", data)
    prepared = task.prepare(data)
    labels = task.transformed(prepared.targets["rotation"], MIRROR.expand(8, 2, 2))
    for seen, label in zip(prepared.pixels.flip(3), labels, strict=True):
        same = [torch.equal(seen, other) for other in _all_turns(data.pixels.flip(3), int(task.outputs))[int(label)]]
        assert sum(same) == 1
    unmoved = torch.eye(2).expand(8, 2, 2)
    assert torch.equal(task.transformed(prepared.targets["rotation"], unmoved), prepared.targets["rotation"])


def _all_turns(pixels: Tensor, count: int) -> list[Tensor]:
    return [pixels.rot90(turn * 4 // count, (2, 3)) for turn in range(count)]


def test_denoising_adds_the_noise_it_says() -> None:
    data = scenes(8)
    gray = data.with_pixels(torch.full_like(data.pixels, 128))
    prepared = made("denoising", gray).prepare(gray)
    noise = prepared.pixels.float() - 128
    assert float(noise.std()) == pytest.approx(25, rel=0.03)
    assert torch.equal(prepared.targets["denoising"], gray.pixels)


def test_joint_losses_are_the_sum_of_single_ones() -> None:
    data = scenes(6)
    joint = made(JOINT, data)
    targets = data.targets_of(joint.target)
    singles = {name: made(name, data) for name in JOINT.partition(":")[2].split("+")}
    output = {name: outputs_like(task, 6, seed) for seed, (name, task) in enumerate(singles.items())}
    total = sum(task.loss(output[name], data.targets[task.target]) for name, task in singles.items())
    assert torch.allclose(joint.loss(output, targets), total)
    found = joint.metrics(joint.statistics(output, targets))
    for name, task in singles.items():
        own = task.metrics(task.statistics(output[name], data.targets[task.target]))
        assert found[f"{name}/{task.metric}"] == own[task.metric]


def test_balanced_gradients_pull_equally_hard() -> None:
    """Scaling one task's loss changes nothing in what the backbone feels; without balancing it does."""
    data = scenes(6)
    felt = {}
    for weighting in ("uniform", "gradients"):
        for factor in (1.0, 100.0):
            joint = made(f"joint[tasks=class_scene+normal,weighting={weighting}]", data)
            model = build(MODELS["resnet8"](width=4), data.shape, joint.outputs, generator=arrays.seeded(0))
            output = model(arrays.to_images(data.pixels, torch.device("cpu")))
            scene, normal = (made(name, data) for name in ("class_scene", "normal"))
            loss = factor * scene.loss(output["class_scene"], data.targets["class_scene"])
            loss = loss + normal.loss(output["normal"], data.targets["normal"])
            loss.mean().backward()
            weight = model.backbone.conv1.weight.grad  # type: ignore[union-attr]
            felt[weighting, factor] = weight.flatten() / weight.norm()
    assert torch.allclose(felt["gradients", 1.0], felt["gradients", 100.0], atol=1e-4)
    assert not torch.allclose(felt["uniform", 1.0], felt["uniform", 100.0], atol=1e-2)


def test_learned_weights_are_learned() -> None:
    data = scenes(16)
    joint = made("joint[tasks=class_scene+normal,weighting=uncertainty]", data)
    model = build(MODELS["resnet8"](width=4), data.shape, joint.outputs, generator=arrays.seeded(0))
    before = model.uncertainty.detach().clone()  # type: ignore[union-attr, operator]
    list(train(model, data, joint, Recipe(epochs=1, batch_size=8, crop=0, flip=False)))
    assert not torch.equal(model.uncertainty, before)  # type: ignore[arg-type]


def test_a_target_that_is_not_there_is_named() -> None:
    data = scenes()
    with pytest.raises(HowfarError, match="unknown target 'label'"):
        made("classification", data)
    without = Data(data.pixels, {}, data.ids)
    with pytest.raises(HowfarError, match="depth_euclidean"):
        made("depth_euclidean", without)
    assert made("edge_texture", without).prepare(without).targets["edge_texture"].shape == (40, 1, SIDE, SIDE)
