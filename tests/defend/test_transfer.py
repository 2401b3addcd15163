"""Transfer: the backbone learns from the protected images, then stays; only the head learns from clean ones."""

import pytest
import torch

from howfar import arrays
from howfar.data import Data
from howfar.defend import DEFENSES, Chain, Learner
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.tasks import TASKS
from howfar.training import Recipe, train

RECIPE = Recipe(epochs=1, batch_size=8, crop=0, flip=False)


def rooms(n: int, seed: int) -> Data:
    generator = arrays.seeded(seed)
    pixels = torch.randint(0, 256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    normal = torch.nn.functional.normalize(torch.randn(n, 3, 16, 16, generator=generator), dim=1)
    return Data(pixels, {"class_scene": torch.arange(n) % 3, "normal": normal}, torch.arange(n) + 1000 * seed)


@pytest.mark.parametrize(("own", "other"), [("normal", "class_scene"), ("class_scene", "normal")])
def test_the_backbone_learns_the_other_task_and_is_frozen(own: str, other: str) -> None:
    given, clean = rooms(24, 0), rooms(12, 1)
    task = TASKS[own]()(clean)
    defense = Chain.parse(f"transfer:{other}", DEFENSES).build()
    learner = Learner(task, RECIPE, 0, torch.device("cpu"), clean, None, given)
    learned = defense.purify(given, learner)
    assert not set(learned.pixels.flatten(1)[:, :8].tolist()[0]) - set(clean.pixels.flatten().tolist())
    assert len(learned) == len(given)
    model = build(MODELS["resnet8"](width=4), given.shape, task.outputs, generator=arrays.seeded(0))
    fresh = {name: values.clone() for name, values in model.state_dict().items()}
    defense.before(model, learned, learner)
    begun = {name: values.clone() for name, values in model.state_dict().items()}
    list(train(model, learned, task, RECIPE))
    after = model.state_dict()
    heads = [name for name, _ in model.named_parameters() if name.startswith("head")]
    assert heads
    for name in after:
        if name in heads or (name.startswith("head") and "norm" in name):
            continue
        assert torch.equal(after[name], begun[name]), f"{name} moved although it is frozen"
    assert any(not torch.equal(after[name], begun[name]) for name in heads)
    conv = next(name for name in fresh if name.endswith("conv1.weight"))
    assert not torch.equal(begun[conv], fresh[conv]), "the backbone has learned nothing"


def test_without_the_protected_images_there_is_nothing_to_learn_from() -> None:
    clean = rooms(12, 1)
    task = TASKS["normal"]()(clean)
    model = build(MODELS["resnet8"](width=4), clean.shape, task.outputs, generator=arrays.seeded(0))
    defense = Chain.parse("transfer:class_scene", DEFENSES).build()
    with pytest.raises(UsageError, match="needs the protected images"):
        defense.before(model, clean, Learner(task, RECIPE, clean=clean))
