"""Pretrained networks: strict files, timm's outputs, what is trained, and that pretraining helps."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import howfar
from howfar import arrays
from howfar.data import Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.models import MODELS, build
from howfar.models.published import Backbone, EfficientNetLite, ResNet, ViT, matching
from howfar.spec import parse
from howfar.store import Store

SHAPE = (3, 32, 32)
NETWORKS: dict[str, Callable[[], Backbone]] = {
    "resnet18": lambda: ResNet(64, (2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: ResNet(64, (3, 4, 6, 3), bottleneck=True),
    "vit_small_patch16_96": lambda: ViT(384, 12, 16, 6),
    "tf_efficientnet_lite0": EfficientNetLite,
}
# The first four features and the sum of all that timm 1.0 computes with the weights and images of ``filled``.
TIMM = {
    "resnet18": ([2.262375, 0.091523, 0.0, 0.357525], 676.00751),
    "resnet50": ([0.988149, 0.151993, 0.0, 0.197549], 4513.5227),
    "vit_small_patch16_96": ([-1.686441, 1.592559, -0.351703, 0.670959], 1.151309),
    "tf_efficientnet_lite0": ([0.0, 0.105264, 0.0, 0.293301], 336.69337),
}


def filled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that depend on names and shapes only, of about unit gain."""
    found = {}
    for place, (name, tensor) in enumerate(sorted(weights.items())):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (1.7 + place % 7) + place)
        values = 0.3 * wave if tensor.ndim < 2 else wave * (2 / max(tensor[0].numel(), 1)) ** 0.5
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            values = 1 + 0.3 * wave
        counter = tensor.dtype == torch.int64
        found[name] = torch.tensor(0) if counter else values.view(tensor.shape).float()
    return found


def images(side: int) -> Tensor:
    return torch.sin(torch.arange(2 * 3 * side**2, dtype=torch.float64) * 0.37).view(2, 3, side, side).float()


def tiny() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(4, (1, 1, 1, 1), bottleneck=False).state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({**tiny(), "fc.weight": torch.zeros(7, 32)}, tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_what_timm_computes(name: str) -> None:
    with torch.device("meta"):
        shapes = NETWORKS[name]().state_dict()
    weights = filled(shapes)
    found = matching(weights)
    assert found is not None
    model = found[1]().eval()  # of the size that the tensors say
    model.load_state_dict(weights)
    first, total = TIMM[name]
    with torch.no_grad():
        features = model(images(96))
    assert features.shape == (2, model.width)
    assert features[0, :4].tolist() == pytest.approx(first, abs=2e-4)
    assert float(features.double().sum()) == pytest.approx(total, rel=1e-4, abs=2e-3)


def test_positions_of_a_vit_are_interpolated() -> None:
    model = ViT(64, 1, 8, 4)
    model.load_state_dict(filled(model.state_dict()))
    with torch.no_grad():
        model.pos_embed[:, 1:] = model.pos_embed[:, 1:2]  # the same everywhere: interpolation changes nothing
        wide = model._positions(torch.Size((7, 3)))
        assert torch.allclose(wide, model.pos_embed[:, 1:2].expand(1, 21, 64), atol=1e-5)
        assert model(images(40)).shape == (2, 64)


def test_a_file_is_loaded_whole_and_its_head_is_not(file: Path) -> None:
    model = build(MODELS["pretrained"](file), SHAPE, 3, generator=arrays.seeded(0))
    loaded = model.state_dict()
    for name, tensor in tiny().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(loaded[f"body.{name}"], tensor), name
    assert model(torch.rand(2, *SHAPE)).shape == (2, 3)
    assert build(MODELS["pretrained"](file), (1, 16, 16), 2)(torch.rand(2, 1, 16, 16)).shape == (2, 2)
    dense = build(MODELS["pretrained"](file), SHAPE, arrays.PerPixel(2))
    assert dense(torch.rand(2, *SHAPE)).shape == (2, 2, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.zeros(4, 3, 5, 5)}, r"conv1.weight of shape \(4, 3, 5, 5\) instead of \(4, 3, 7, 7\)"),
        ({"bn1.weight": None}, "it lacks bn1.weight. Export"),
        ({"layer1.0.conv9.weight": torch.zeros(1)}, "it has unknown layer1.0.conv9.weight"),
        ({"bn1.bias": torch.zeros(4, dtype=torch.int8)}, "bn1.bias has type torch.int8"),
        ({"bn1.bias": torch.full((4,), float("nan"))}, "bn1.bias holds NaN"),
        ({"conv1.weight": None, "layer1.0.conv1.weight": None}, "holds no network that is known here"),
        ({name: None for name in tiny() if name.startswith("layer4")}, "holds no network that is known here"),
    ],
)
def test_wrong_tensors_are_refused(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    tensors = {name: tensor for name, tensor in {**tiny(), **change}.items() if tensor is not None}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(HowfarError, match=message):
        build(MODELS["pretrained"](tmp_path / "w.safetensors"), SHAPE, 2)


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(tiny(), tmp_path / "w.pth")
    with pytest.raises(HowfarError, match=r"is a pickle.*convert it: python -c"):
        build(MODELS["pretrained"](tmp_path / "w.pth"), SHAPE, 2)
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(HowfarError, match="cannot be read as safetensors"):
        build(MODELS["pretrained"](tmp_path / "w.safetensors"), SHAPE, 2)
    with pytest.raises(UsageError, match="is not a file"):
        build(MODELS["pretrained"](tmp_path / "none.safetensors"), SHAPE, 2)
    with pytest.raises(UsageError, match="either weights or data"):
        MODELS["pretrained"]()


def test_a_file_of_pretrain_names_its_network_and_is_checked_as_strictly(tmp_path: Path) -> None:
    metadata = {"howfar.network": "resnet8[width=9999]", "howfar.channels": "3"}
    save_file(tiny(), tmp_path / "w.safetensors", metadata)
    with pytest.raises(HowfarError, match=r"does not fit resnet8\[width=9999\]"):  # without allocating it
        build(MODELS["pretrained"](tmp_path / "w.safetensors"), SHAPE, 2)
    with pytest.raises(UsageError, match="images with 3 channels, but these have 1"):
        build(MODELS["pretrained"](tmp_path / "w.safetensors"), (1, 16, 16), 2)
    save_file(tiny(), tmp_path / "w.safetensors", metadata | {"howfar.network": "pretrained[data=digits]"})
    with pytest.raises(UsageError, match="makes no sense"):
        build(MODELS["pretrained"](tmp_path / "w.safetensors"), SHAPE, 2)


def steps(model: nn.Module, data: Data) -> None:
    recipe = howfar.Recipe(epochs=1, batch_size=30, optimizer="adamw", lr=0.01, weight_decay=0.1, crop=0, flip=False)
    list(howfar.train(model, data, recipe=recipe))


@pytest.mark.parametrize("tune", ["linear", "last", "all"])
def test_only_what_is_tuned_moves(file: Path, digits: Splits, tune: str) -> None:
    data = digits.train.take(range(60))
    model = build(MODELS["pretrained"](file, tune=tune, side=32), data.shape, 10, generator=arrays.seeded(0))
    before = {name: tensor.clone() for name, tensor in model.body.state_dict().items()}
    steps(model, data)
    moved = {
        name.partition(".")[0]
        for name, tensor in model.body.state_dict().items() if not torch.equal(tensor, before[name])
    }  # fmt: skip
    every = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert moved == {"linear": set(), "last": {"layer4"}, "all": every}[tune]


@pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")
def test_adapters_start_without_effect_and_alone_move(file: Path, digits: Splits) -> None:
    data = digits.train.take(range(60))
    kind = {"side": 32}
    plain, model = (
        build(MODELS["pretrained"](file, tune=tune, **kind), data.shape, 10, generator=arrays.seeded(0)).eval()
        for tune in ("linear", "lora")
    )
    pixels = arrays.to_images(data.pixels, torch.device("cpu"))
    with torch.no_grad():
        assert torch.allclose(plain._features(pixels), model._features(pixels), atol=1e-5)
    before = {name: tensor.clone() for name, tensor in model.body.state_dict().items()}
    steps(model, data)
    after = model.body.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_without_peft_adapters_name_the_extra(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howfar.errors.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'howfar\[peft\]'"):
        build(MODELS["pretrained"](file, tune="lora"), SHAPE, 2)


def test_a_network_without_blocks_has_no_last_one(tmp_path: Path, digits: Splits) -> None:
    file = howfar.pretrain(digits.train.take(range(60)), "lenet5", tmp_path / "w.safetensors", epochs=1)
    with pytest.raises(UsageError, match="no blocks, so tune=last is not possible"):
        build(MODELS["pretrained"](file, tune="last"), digits.train.shape, 2)
    with pytest.raises(UsageError, match="does not end in"):
        howfar.pretrain(digits.train, "lenet5", tmp_path / "w.pt")


def halves_of(digits: Splits) -> tuple[Data, Data, Data]:
    """Return digits 0 to 4 to pretrain on, and few training and many test images of digits 5 to 9."""
    labels = digits.train.targets["label"]
    low, high = digits.train.take((labels < 5).nonzero().flatten()), digits.train.take((labels > 4).nonzero().flatten())
    test = digits.test.take((digits.test.targets["label"] > 4).nonzero().flatten())
    return low, high.take(range(30)), test


def test_pretraining_helps_where_images_are_few(tmp_path: Path, digits: Splits) -> None:
    low, few, test = halves_of(digits)
    file = howfar.pretrain(low, "resnet8[width=8]", tmp_path / "low.safetensors", epochs=8, batch_size=32, lr=0.05)
    found = {}
    models = {
        "scratch": MODELS["resnet8"](width=8),
        **{tune: MODELS["pretrained"](file, tune=tune) for tune in ("linear", "last", "all")},
    }
    for name, architecture in models.items():
        model = build(architecture, few.shape, 10, generator=arrays.seeded(1))
        recipe = howfar.training.recipe_for("pretrained", settings={"epochs": 12, "batch_size": 10})
        list(howfar.train(model, few, recipe=recipe))
        found[name] = howfar.evaluate(model, test)["accuracy"]
    assert min(found[tune] for tune in ("linear", "last", "all")) > found["scratch"] + 0.1, found


def test_bench_pretrains_once_and_keeps_the_network(tmp_path: Path) -> None:
    name = "pretrained[data=digits,network=resnet8:width=4,limit=200,tune=linear]"
    settings = {
        "protectors": "random", "models": name, "defenses": "none", "seeds": "0-1", "runs": tmp_path,
        "probe_images": 20, "limit_train": 100, "train": {"epochs": 1},
    }  # fmt: skip
    results = howfar.bench("digits", **settings)
    files = list((tmp_path / "pretrained").iterdir())
    assert len(files) == 1
    assert {row.model for row in results.page.rows} == {name}
    written = files[0].stat().st_mtime_ns
    howfar.bench("digits", **settings | {"seeds": "0-2"})
    assert [path.stat().st_mtime_ns for path in (tmp_path / "pretrained").iterdir()] == [written]


def test_the_key_depends_on_the_content_of_the_file(file: Path) -> None:
    def key() -> str:
        return Store.key("model", parse(f"pretrained:{file}", MODELS, "model").key())

    first = key()
    tensors = tiny()
    tensors["bn1.bias"] += 1
    save_file(tensors, file)
    assert key() != first
    assert parse("pretrained[data=digits,network=resnet8[width=2]]", MODELS, "model").key()["nested"][0]["width"] == 2


def test_the_converted_names_of_the_imagenet_weights_are_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    renamed = importlib.import_module("efficientnet_lite0").renamed
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["_conv_stem.weight", "_conv_head.weight"]
    names += [f"{layer}.{part}" for layer in ("_bn0", "_bn1") for part in norm]
    for block in range(16):
        expands = ["_expand_conv"] if block else []
        names += [f"_blocks.{block}.{layer}.weight" for layer in (*expands, "_depthwise_conv", "_project_conv")]
        layers = ("_bn0", "_bn1", "_bn2") if block else ("_bn1", "_bn2")
        names += [f"_blocks.{block}.{layer}.{part}" for layer in layers for part in norm]
    with torch.device("meta"):
        own = set(EfficientNetLite().state_dict())
    assert {renamed(name) for name in names} == own
    assert renamed("_fc.bias") == "classifier.bias"
