"""Which weights a tensor depends on, operation by operation."""

import pytest
import torch
from torch import Tensor, nn

from howfar.probe.flow import ALL, ROOT, Call, Flow, NotReplayableError

FIRST, SECOND = 1, 2


class Model(nn.Module):
    """Two weights that may move, one that may not, a buffer, and a tensor in a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.still = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
        self.register_buffer("scale", torch.ones(2))
        self.kept = [torch.ones(2), "a word"]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def images() -> Tensor:
    return torch.ones(3, 2)


def flow_of(model: Model, images: Tensor, calls: list[Call] | None = None) -> Flow:
    return Flow(model, images, {id(model.first): FIRST, id(model.second): SECOND}, calls or [])


def test_results_depend_on_what_their_arguments_depend_on(model: Model, images: Tensor) -> None:
    stranger = torch.ones(2)
    with flow_of(model, images) as flow:
        plain = images * 2 @ model.still + model.scale + model.kept[0]
        one = plain @ model.first
        other = torch.nn.functional.linear(plain, weight=model.second)
        both = torch.cat([one, other])
        parts = both.chunk(2)
        made = torch.zeros(2)
        unknown = one + stranger
    assert [flow.of(value) for value in (images, plain, made)] == [0, 0, 0]
    assert [flow.of(value) for value in (one, other, both, parts[1])] == [FIRST, SECOND, FIRST | SECOND, FIRST | SECOND]
    assert [flow.of(value) for value in (stranger, unknown)] == [ALL, ALL]
    assert flow.of({"a": [one, 3], "b": (other, None, "text")}) == FIRST | SECOND
    assert flow.of([1, 2.0, True, "text", None, torch.float32, torch.Size([2])]) == 0
    assert flow.of([plain, object()]) == ALL


@pytest.mark.parametrize("way", ["item", "tolist", "bool", "written"])
def test_values_that_leave_pytorch_mark_all_that_follows(way: str, model: Model, images: Tensor) -> None:
    with flow_of(model, images) as flow:
        one = (images @ model.first).sum()
        sizes = one.dim(), one.shape, one.numel(), one.is_floating_point(), one.device
        before = flow.of(images + 1)
        if way == "item":
            one.item()
        elif way == "tolist":
            one.tolist()
        elif way == "bool":
            assert one > 0
        else:
            with torch.no_grad():
                one.add_(1)
        after = flow.of(images + 1)
    assert sizes[0] == 0
    assert (before, after) == (0, FIRST), "only numbers that say what is inside"
    assert flow.of([]) == FIRST


def test_a_tensor_may_leave_a_module_only_as_its_output(model: Model, images: Tensor) -> None:
    calls = [Call(model), Call(model, parent=0, depends=FIRST)]
    with flow_of(model, images, calls) as flow:
        flow.running += [0, 1]
        returned, hidden = images + 1, images + 2
        flow.running.pop()
        flow.to_caller([returned], 1)
        assert flow.of(returned + 1) == 0
        with pytest.raises(NotReplayableError, match="Model passes on a tensor that it does not return"):
            hidden + 1
        outer = images + 3
        flow.running.pop()
        assert flow.running == [ROOT]
        assert flow.of(outer + 1) == 0, "the outer module depends on everything, so it always runs again"
        with pytest.raises(NotReplayableError):
            hidden + 1
        flow.to_caller(hidden, 0)
        with pytest.raises(NotReplayableError):
            hidden + 1
