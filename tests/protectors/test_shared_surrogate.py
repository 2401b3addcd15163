"""A surrogate that several craftings need is trained once, and changes no byte of what they make."""

from pathlib import Path

import pytest
import torch

from howfar import arrays
from howfar.data import Data, balanced
from howfar.protectors import PROTECTORS, Draft, surrogate
from howfar.spec import parse
from howfar.tasks import Task

SMALL = "epochs=1,steps=2,surrogate=resnet8[width=2]"


def crafted(protector: str, data: Data, task: Task, surrogates: Path | None) -> torch.Tensor:
    method = parse(protector, PROTECTORS, "protector").build()
    return method.protect(data, task, generator=arrays.seeded(0, "protect"), draft=Draft(surrogates=surrogates)).pixels


@pytest.fixture
def few(digits: object) -> Data:
    return balanced(digits.train, 60, target="label")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"tap[eps=4/255,{SMALL}]", f"tap:untargeted[eps=16/255,{SMALL}]"),
        (f"hypo[eps=4/255,{SMALL}]", f"hypo[eps=8/255,{SMALL}]"),
    ],
)
def test_the_second_one_finds_it_and_makes_the_same_bytes(
    first: str, second: str, few: Data, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = crafted(second, few, task, None)
    before = crafted(first, few, task, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(surrogate, "train", never)
    assert (crafted(second, few, task, tmp_path) == alone).all()
    assert (crafted(first, few, task, tmp_path) == before).all()


def test_another_surrogate_is_another_one(few: Data, task: Task, tmp_path: Path) -> None:
    crafted(f"tap[{SMALL}]", few, task, tmp_path)
    crafted(f"tap[{SMALL.replace('epochs=1', 'epochs=2')}]", few, task, tmp_path)
    crafted(f"hypo[{SMALL}]", few, task, tmp_path)
    crafted(f"hypo[robust=1/255,{SMALL}]", few, task, tmp_path)
    crafted(f"tap[{SMALL}]", few.take(torch.arange(50)), task, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    crafted(f"aap[{SMALL}]", few, task, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5, "its loss does not say what it does"


def test_a_spoilt_one_is_made_anew(few: Data, task: Task, tmp_path: Path) -> None:
    protector = f"tap[{SMALL}]"
    whole = crafted(protector, few, task, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert (crafted(protector, few, task, tmp_path) == whole).all()
