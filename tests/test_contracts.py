"""What every entry of every table promises."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pixels
from howfar.commands.catalog import TABLES, describe
from howfar.data import Data
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS, Draft
from howfar.protectors.lsp import LinearlySeparable
from howfar.protectors.protector import Crafting, Protector
from howfar.spec import parse
from howfar.tasks import classification

from .conftest import make_data

SMALL = "surrogate=resnet8[width=2]"
QUICK = {
    "em": f"em[rounds=2,steps=2,train_steps=2,{SMALL}]",
    "em:class": f"em:class[rounds=2,train_steps=2,{SMALL}]",
    "tap": f"tap[epochs=1,steps=2,restarts=2,{SMALL}]",
    "tap:untargeted": f"tap:untargeted[epochs=1,steps=2,{SMALL}]",
    "aap": f"aap[epochs=1,steps=2,{SMALL}]",
    "sep": "sep[epochs=2,checkpoints=2,steps=2,surrogate=lenet5]",
    "sep:features": "sep:features[epochs=2,checkpoints=2,steps=2,surrogate=lenet5]",
    "hypo": f"hypo[epochs=1,steps=2,{SMALL}]",
    "delusive": f"delusive[epochs=1,steps=2,{SMALL}]",
    "delusive:p1": f"delusive:p1[epochs=1,steps=2,{SMALL}]",
    "delusive:p5": "delusive:p5",
    "entf": f"entf[epochs=1,steps=2,{SMALL}]",
    "entf:pull": f"entf:pull[epochs=1,steps=2,{SMALL}]",
    "rem": f"rem[iterations=2,steps=2,inner_steps=2,transforms=2,{SMALL}]",
    "sem": f"sem[iterations=2,steps=2,inner_steps=2,{SMALL}]",
    "aue": f"aue[rounds=2,steps=2,{SMALL}]",
    "mi-ue": f"mi-ue[rounds=2,steps=2,{SMALL}]",
    "pue": f"pue[rounds=2,train_steps=2,noise_levels=2,{SMALL}]",
    "tue": f"tue[rounds=2,steps=2,{SMALL}]",
    "refined-carriers": f"refined-carriers[rounds=2,{SMALL}]",
    "taught-carriers": "taught-carriers[rooms=32,epochs=1,teacher=resnet8[width=2]]",
    "taught-stripes": "taught-stripes[rooms=32,epochs=1,teacher=resnet8[width=2]]",
    "cp": f"cp[rounds=2,steps=2,{SMALL}]",
    "cp:class": f"cp:class[rounds=2,steps=2,{SMALL}]",
    "uc": f"uc[epochs=1,steps=3,clusters=3,{SMALL}]",
    "dc": f"dc[rounds=2,epochs=1,width=4,lr=0.1,{SMALL}]",
    "gue": f"gue[epochs=2,inner_steps=2,width=4,lr=1,{SMALL}]",
    "mtl-ue": f"mtl-ue[rounds=2,train_steps=2,width=4,lr=0.1,{SMALL}]",
    "ntga": "ntga[steps=2,block=16,validation=12]",
    "pil": "pil[epochs=2,steps=3]",
    "ops": "ops[pixels=2]",
}
NAMES = list(dict.fromkeys([*(name for name in PROTECTORS if name != "import"), "random:class", *QUICK]))
UNSEEDED = ("clean", "ops")
SHAPES = [(3, 12, 10, 3), (1, 9, 16, 2), (3, 16, 16, 37)]


def built(name: str) -> Protector:
    return parse(QUICK.get(name, name), PROTECTORS, "protector").build()


def protect(name: str, data: Data, seed: int = 0) -> Data:
    return built(name).protect(data, classification()(data), generator=arrays.seeded(seed))


def within_linf(protector: Any, before: Tensor, after: Tensor) -> bool:
    """Whether no value has moved by more than eps, after rounding too."""
    return int((after - before).abs().max()) <= math.floor(protector.eps * 255 + 1e-6)


def within_l2(protector: Any, before: Tensor, after: Tensor) -> bool:
    """Whether no image has moved by more than its L2 radius, and half a level of rounding for each value."""
    values = before[0].numel()
    at_32 = protector.eps * (3072**0.5 if isinstance(protector, LinearlySeparable) else 1)  # its eps is a mean square
    radius = at_32 * (values / 3072) ** 0.5
    lengths = ((after - before) / 255).flatten(1).norm(dim=1)
    return float(lengths.max()) <= radius + 0.5 / 255 * values**0.5


def within_l0(protector: Any, before: Tensor, after: Tensor) -> bool:
    """Whether no image has more changed pixels than the setting says."""
    return int((after != before).any(1).flatten(1).sum(1).max()) <= protector.pixels


def within_filter(protector: Any, before: Tensor, after: Tensor) -> bool:
    """Whether every pixel is what a filter with one entry 1 and others in [0, blur] can make of its window.

    The brightest value of an image, by which it is divided, is at least its brightest inner pixel and at most the
    brightest of all times the filter's largest sum.
    """
    side, largest = protector.kernel, 1 + protector.blur * (protector.kernel**2 - 1)
    half, x = side // 2, before / 255
    high = functional.max_pool2d(x, side, 1, half)
    low = -functional.max_pool2d(functional.pad(-x, (half,) * 4), side, 1)
    least = x[:, :, half:-half, half:-half].flatten(1).amax(1).view(-1, 1, 1, 1)
    most = largest * x.flatten(1).amax(1).view(-1, 1, 1, 1)
    out, rounding = after / 255, 0.51 / 255
    return bool(((out >= low / most - rounding) & (out <= largest * high / least + rounding)).all())


def unchanged(protector: Any, before: Tensor, after: Tensor) -> bool:
    """Whether nothing has moved."""
    return torch.equal(before, after)


# What bounds the change, by the norm that a protector states; without a norm, by its name.
BOUNDS: dict[str, Callable[[Any, Tensor, Tensor], bool]] = {
    "L∞": within_linf, "L2": within_l2, "L0": within_l0, "cuda": within_filter, "clean": unchanged,
}  # fmt: skip


def assert_bounded(name: str, data: Data, protected: Data) -> None:
    protector = built(name)
    key = protector.norm if protector.norm in BOUNDS else name
    assert key in BOUNDS, f"{name} states no norm: say what bounds its change, and check it here"
    assert BOUNDS[key](protector, data.pixels.float(), protected.pixels.float()), f"{name} leaves its bound ({key})"


def test_every_protector_states_what_bounds_it() -> None:
    tested = {name.partition(":")[0] for name in NAMES}
    assert tested | {"import"} == set(PROTECTORS), "the bound of what is imported is that of its file"
    norms = {name: PROTECTORS[name].norm for name in tested}  # type: ignore[attr-defined]
    assert {name for name, norm in norms.items() if norm not in BOUNDS} == {"clean", "cuda"}
    assert {name for name, norm in norms.items() if norm in ("L2", "L0")} == {"lsp", "ar", "delusive", "ops"}


@pytest.mark.parametrize("name", ["random", "lsp", "ar", "ops", "cuda", "delusive:p5", "clean"])
def test_bounds_notice_a_change_beyond_them(name: str) -> None:
    data = make_data(12, (3, 16, 16), 3)
    data = data.with_pixels((data.pixels // 4 + 60).to(torch.uint8))
    protected = protect(name, data)
    assert_bounded(name, data, protected)
    spoilt = protected.pixels.clone()
    spoilt[3] = 255 - spoilt[3]
    with pytest.raises(AssertionError, match="leaves its bound"):
        assert_bounded(name, data, protected.with_pixels(spoilt))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "height", "width", "classes"), SHAPES)
def test_protector_keeps_ids_targets_and_budget(
    name: str, channels: int, height: int, width: int, classes: int
) -> None:
    data = make_data(2 * classes, (channels, height, width), classes)
    before = data.pixels.clone()
    protected = protect(name, data)
    assert torch.equal(data.pixels, before), "the clean images were touched"
    assert protected.pixels.dtype == torch.uint8
    assert protected.pixels.shape == data.pixels.shape
    assert torch.equal(protected.ids, data.ids)
    assert torch.equal(protected.targets["label"], data.targets["label"])
    assert_bounded(name, data, protected)
    assert torch.equal(protected.pixels, data.pixels) == (name == "clean")


@pytest.mark.parametrize("name", NAMES)
def test_protector_is_deterministic_and_follows_ids(name: str) -> None:
    data = make_data()
    first = protect(name, data)
    assert torch.equal(first.pixels, protect(name, data).pixels)
    order = torch.randperm(len(data), generator=arrays.seeded(1))
    assert torch.equal(protect(name, data.take(order)).pixels, first.pixels[order])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSEEDED])
def test_another_seed_gives_other_noise(name: str) -> None:
    data = make_data()
    assert not torch.equal(protect(name, data, 0).pixels, protect(name, data, 1).pixels)


@pytest.mark.parametrize("name", NAMES)
def test_protector_takes_a_class_with_one_image(name: str) -> None:
    data = make_data(9, classes=2)
    data.targets["label"][:] = 0
    data.targets["label"][4] = 1
    assert len(protect(name, data)) == 9


@pytest.mark.parametrize("name", [name for name in NAMES if name != "clean"])
def test_share_protects_so_many_and_leaves_the_rest(name: str) -> None:
    data = make_data(20)

    def changed(share: float) -> torch.Tensor:
        protector = replace(parse(QUICK.get(name, name), PROTECTORS, "protector").build(), share=share)
        protected = protector.protect(data, classification()(data), generator=arrays.seeded(3))
        assert torch.equal(protected.ids, data.ids)
        return (protected.pixels != data.pixels).flatten(1).any(1)

    none, quarter, half = changed(0.0), changed(0.25), changed(0.5)
    assert not none.any()
    assert int(quarter.sum()) == 5
    assert int(half.sum()) == 10
    assert bool((half | ~quarter).all()), "a larger share must hold the smaller one"


@pytest.mark.parametrize("name", ["clean", "random", "random:class", "lsp", "ar", "ops", "cuda", "delusive:p5"])
def test_pieces_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(30)
    whole = protect(name, data)
    real: Callable[[int, int], object] = arrays.chunks
    monkeypatch.setattr(arrays, "chunks", lambda count, size: real(count, 7))
    assert torch.equal(protect(name, data).pixels, whole.pixels)


@pytest.mark.parametrize("name", NAMES)
def test_large_sets_stay_on_disk(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    whole = protect(name, data)
    made: list[Pixels] = []
    real = arrays.empty_pixels
    monkeypatch.setattr(arrays, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(arrays, "empty_pixels", lambda shape: made.append(real(shape)) or made[-1])
    found = protect(name, data)
    assert torch.equal(found.pixels, whole.pixels)
    assert made or found is data, "what changes nothing makes nothing"


@pytest.mark.parametrize("name", [name for name in QUICK if name not in ("ops", "delusive:p5")])
def test_a_killed_crafting_goes_on_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    data = make_data(30)
    task = classification()(data)
    whole = protect(name, data)
    protector = parse(QUICK[name], PROTECTORS, "protector").build()

    def work() -> Crafting:
        draft = Draft(tmp_path / "draft", every=0.0)
        return protector.progress(data, task, generator=arrays.seeded(0), draft=draft)

    steps = len(list(work()))
    (tmp_path / "draft").unlink(missing_ok=True)
    for killed in range(1, steps):  # killed after each step, resumed from whatever was kept
        begun = work()
        for _ in range(killed):
            if next(begun, None) is None:
                break
        begun.close()
    resumed = protector.protect(
        data, task, generator=arrays.seeded(0), draft=Draft(tmp_path / "draft", every=0.0)
    )  # fmt: skip
    assert torch.equal(resumed.pixels, whole.pixels)


SMALL_MODELS = {
    "resnet8": {"width": 4}, "resnet18": {"width": 4}, "resnet50": {"width": 4}, "senet18": {"width": 4},
    "mobilenetv2": {"width": 4}, "airbench": {"size": "4-4-8"}, "unet": {"widths": "4-4-8"},
    "densenet121": {"growth": 4}, "vit-small": {"width": 16, "depth": 2, "heads": 2},
    "pretrained": {"data": "digits", "network": "resnet8[width=4]"},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 9, 21)])
def test_model_takes_any_shape_and_leaves_global_randomness_alone(name: str, shape: tuple[int, int, int]) -> None:
    sizes = SMALL_MODELS.get(name, {})
    state = torch.get_rng_state()
    model = build(MODELS[name](**sizes), shape, 5, generator=arrays.seeded(0))
    twin = build(MODELS[name](**sizes), shape, 5, generator=arrays.seeded(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    out = model(torch.rand(4, *shape))
    assert out.shape == (4, 5)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_model_takes_a_dense_head(name: str, skips: bool, channels: int) -> None:
    shape = (channels, 16, 16)
    outputs = arrays.PerPixel(2, skips=skips)
    model = build(MODELS[name](**SMALL_MODELS.get(name, {})), shape, outputs, generator=arrays.seeded(0))
    assert model(torch.rand(4, *shape)).shape == (4, 2, 16, 16)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table])
def test_every_entry_is_documented(kind: str, name: str) -> None:
    entry = describe(kind, name)
    assert entry["what"]
    undocumented = [setting["name"] for setting in entry["settings"] if not setting["what"]]
    assert not undocumented
    if kind == "protectors" and name not in ("clean", "import"):
        assert re.search(r"\b20[12]\d\b", entry["source"]), "no paper with its year"
