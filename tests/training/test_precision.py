from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from howfar import arrays
from howfar.data import Splits
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import Task
from howfar.training import RECIPES, evaluate, train
from howfar.training.precision import autocast, chosen, instructions

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RECIPE = replace(RECIPES["fast"], epochs=6, batch_size=50, crop=0, flip=False)


@pytest.fixture(params=["amx_bf16", "avx512_bf16", ""])
def flag(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the only instructions for bf16 that the processor pretends to have."""
    found = {name: name == request.param for name in ("amx_bf16", "avx512_bf16")}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    instructions.cache_clear()
    yield request.param
    instructions.cache_clear()


def test_auto_is_bf16_where_there_are_instructions_for_it(flag: str) -> None:
    assert chosen("auto", CPU) == ("bf16" if flag else "float32")
    assert chosen("auto", GPU) == "bf16"
    assert chosen("float32", CPU) == chosen("float32", GPU) == "float32"
    assert chosen("bf16", CPU) == "bf16"
    with autocast("auto", CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if flag else torch.float32)


def test_doctor_says_what_auto_is(flag: str) -> None:
    from howfar.commands.doctor import examine

    if not torch.cuda.is_available():
        assert examine()["precision"].startswith("bf16, by" if flag else "float32")


def test_bf16_and_float32_come_to_the_same_conclusions(digits: Splits, task: Task) -> None:
    quality: dict[str, list[float]] = {}
    for name in ("clean", "random[eps=8/255]", "random:class[eps=48/255]", "lsp[eps=64/255]", "ops"):
        protector = parse(name, PROTECTORS, "protector").build()
        learned = protector.protect(digits.train, task, generator=arrays.seeded(0, "protect"))
        for precision in ("bf16", "float32"):
            model = build(MODELS["airbench"]("8-16-16"), learned.shape, 10, generator=arrays.seeded(0))
            list(train(model, learned, task, replace(RECIPE, precision=precision)))
            quality.setdefault(name, []).append(evaluate(model, digits.test, task)["accuracy"])
    clean = quality.pop("clean")
    assert min(clean) > 0.85
    for name, found in quality.items():
        drops = [before - after for before, after in zip(clean, found, strict=True)]
        if name == "random[eps=8/255]":
            assert max(drops) < 0.15, (name, drops)
        else:
            assert min(drops) > 0.3, (name, drops)
