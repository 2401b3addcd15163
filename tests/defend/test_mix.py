"""Mixtures: protected images with clean ones of the learner, or these alone."""

import pytest
import torch

from howfar.data import Data
from howfar.defend import DEFENSES, Chain, Learner
from howfar.errors import UsageError
from howfar.grid.overrides import make_suite
from howfar.tasks import classification
from tests.conftest import make_data

DATA = make_data(12, (3, 8, 8))
CLEAN = Data(make_data(9, (3, 8, 8), seed=3).pixels, make_data(9, (3, 8, 8)).targets, torch.arange(100, 109))


def mixed(name: str) -> Data:
    return Chain.parse(name, DEFENSES).build().purify(DATA, Learner(classification()(DATA), clean=CLEAN))


def test_clean_images_are_added_in_balance() -> None:
    found = mixed("mix:6")
    assert torch.equal(found.pixels[:12], DATA.pixels)
    added = found.ids[12:] - 100
    assert torch.equal(found.pixels[12:], CLEAN.pixels[added])
    assert torch.equal(found.targets["label"][12:], CLEAN.targets["label"][added])
    assert found.targets["label"][12:].bincount().tolist() == [2, 2, 2]
    assert set(mixed("mix:3").ids.tolist()) <= set(found.ids.tolist()), "more include fewer"


def test_alone_they_are_repeated_to_as_many_images() -> None:
    found = mixed("mix[clean=6,alone=true]")
    assert len(found) == 18
    assert found.ids.tolist() == list(range(18))
    assert torch.equal(found.pixels[:6].repeat(3, 1, 1, 1), found.pixels)
    assert torch.equal(found.pixels[:6], mixed("mix:6").pixels[12:])


def test_more_than_the_learner_has_are_refused() -> None:
    with pytest.raises(UsageError, match=r"needs 10 clean images, but the learner has 9\. .*held_out=20"):
        mixed("mix:10")


def test_clean_images_alone_are_run_once() -> None:
    cells = make_suite("mixtures", {"seeds": "0"}).experiments()
    alone = [cell for cell in cells if "alone" in cell.defense.label]
    assert {cell.protector.label for cell in alone} == {"clean"}
    assert len(alone) == 4
    assert len(cells) == 4 + 4 * 6
