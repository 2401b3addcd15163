"""``howfar.protect``: somebody's own images in, the same kind of images out; and tables that understand settings."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from howfar import (
    DATASETS,
    DEFENSES,
    MODELS,
    PROTECTORS,
    TASKS,
    Data,
    Protector,
    UsageError,
    protect,
    seeded,
)
from howfar.data import Splits
from howfar.tasks import classification

from ..conftest import make_data

LABELS = np.arange(24) % 3
PROTECTOR = "lsp[eps=16/255]"


def images() -> Any:
    return make_data(24, (3, 12, 10)).pixels


def expected() -> torch.Tensor:
    """Return what the long way gives, as bytes."""
    data = Data.from_arrays(images(), LABELS)
    lsp = PROTECTORS["lsp"](eps=16 / 255)
    return lsp.protect(data, classification()(data), generator=seeded(3)).pixels


@pytest.mark.parametrize(
    ("given", "bytes_of"),
    [
        (lambda x: x, lambda x: x),
        (lambda x: x.numpy(), torch.from_numpy),
        (lambda x: x.permute(0, 2, 3, 1), lambda x: x.permute(0, 3, 1, 2)),
        (lambda x: x.permute(0, 2, 3, 1).numpy(), lambda x: torch.from_numpy(x).permute(0, 3, 1, 2)),
        (lambda x: x.float() / 255, lambda x: x * 255),
        (lambda x: x.double() / 255, lambda x: x * 255),
        (lambda x: (x.numpy() / 255).astype(np.float32), lambda x: torch.from_numpy(x * 255)),
        (lambda x: x.numpy().astype(np.float64), torch.from_numpy),
        (lambda x: x.numpy().astype(np.int32), torch.from_numpy),
    ],
)
def test_the_kind_of_the_images_is_kept(given: Any, bytes_of: Any) -> None:
    X = given(images())
    found = protect(PROTECTOR, X, LABELS, seed=3)
    assert type(found) is type(X)
    assert found.dtype == X.dtype
    assert found.shape == X.shape
    assert torch.allclose(bytes_of(found).double(), expected().double(), atol=1e-3)


def test_gray_images_without_channels_stay_so() -> None:
    X = np.random.default_rng(0).random((6, 16, 16)).astype(np.float32)
    found = protect("random", X, seed=0)
    assert found.shape == X.shape
    assert 0 < np.abs(found - X).max() <= 8 / 255 + 1e-6


def test_the_change_is_added_to_the_images_before_they_are_rounded() -> None:
    X = np.random.default_rng(0).uniform(0.2, 0.8, (6, 3, 16, 16))
    change = (protect("random[eps=8/255]", X, seed=0) - X) * 255
    assert np.allclose(change, change.round(), atol=1e-9)
    assert np.abs(change).max() == pytest.approx(8)
    again = protect("random[eps=8/255]", X, seed=0)
    other = protect("random[eps=8/255]", X, seed=1)
    assert np.array_equal(again, protect("random[eps=8/255]", X, seed=0))
    assert not np.array_equal(again, other)
    assert (protect("random[eps=8/255]", np.round(X)[..., None][..., 0] * 0.999, seed=0) >= 0).all()


def test_noise_follows_the_ids() -> None:
    X, backwards = images().numpy(), np.arange(24)[::-1]
    found = protect(PROTECTOR, X[backwards], LABELS[backwards], ids=backwards.copy(), seed=3)
    assert np.array_equal(found[backwards], protect(PROTECTOR, X, LABELS, seed=3))


def test_data_and_protectors_are_taken_as_well(digits: Splits) -> None:
    few = digits.train.take(range(20))
    found = protect(PROTECTORS[PROTECTOR], few, seed=3)
    assert isinstance(found, Data)
    assert found.digest() == protect(PROTECTOR, few, seed=3).digest()
    assert found.digest() == PROTECTORS[PROTECTOR].protect(few, generator=seeded(3)).digest()


def test_dense_targets_with_a_source_task() -> None:
    maps = (np.arange(24 * 120).reshape(24, 12, 10) // 30) % 4
    found = protect("stripes", images().numpy(), {"segment_semantic": maps}, task="segment_semantic", seed=0)
    assert (found != images().numpy()).any()
    named = protect("ops", images().numpy(), {"kind": LABELS}, task="classification:kind", seed=0)
    assert (named != images().numpy()).any()


@pytest.mark.parametrize("name", ["random", "uc[clusters=3,steps=2,epochs=1]", "cp[rounds=1]"])
def test_label_free_protectors_need_no_labels(name: str, digits: Splits) -> None:
    X = digits.train.pixels[:40]
    assert (protect(name, X, seed=0) != X).any()


def test_whatever_bench_takes_is_protected() -> None:
    dataset = torch.utils.data.TensorDataset(images().float() / 255, torch.as_tensor(LABELS))
    found = protect(PROTECTOR, dataset, seed=3)
    assert isinstance(found, torch.utils.data.Dataset)
    image, label = found[4]
    assert torch.equal((image * 255).round().byte(), expected()[4])
    assert label == LABELS[4]
    pair = protect(PROTECTOR, (images(), LABELS), seed=3)
    assert torch.equal(pair[0], expected())
    assert pair[1] is LABELS
    unlabeled = torch.utils.data.StackDataset(images())
    assert isinstance(protect("random", unlabeled, seed=3), Data), "there is no target to give back"
    nested = protect(PROTECTOR, images().tolist(), LABELS, seed=3)
    assert torch.equal(torch.from_numpy(nested).byte(), expected())


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_pictures_come_back_as_pictures(mode: str, channels: int) -> None:
    pixels = make_data(24, (channels, 12, 10)).pixels
    given = [Image.fromarray(array.permute(1, 2, 0).squeeze(2).numpy()) for array in pixels]
    found = protect(PROTECTOR, given, LABELS, seed=3)
    assert [image.mode for image in found] == [mode] * 24
    wanted = protect(PROTECTOR, pixels, LABELS, seed=3)
    assert np.array_equal(np.stack(found).reshape(24, 12, 10, channels), wanted.permute(0, 2, 3, 1).numpy())


def test_refusals_say_what_to_do() -> None:
    X = images().numpy()
    with pytest.raises(UsageError, match="the images have no classes: there are no targets at all"):
        protect("lsp", X)
    with pytest.raises(UsageError, match=r"unknown protector 'lps'"):
        protect("lps[eps=8/255]", X, LABELS)
    with pytest.raises(UsageError, match=r"a DataLoader draws batches, so it is no data set\. Pass its data set"):
        protect("random", torch.utils.data.DataLoader(Data.from_arrays(X, LABELS).to_torch()))
    with pytest.raises(UsageError, match=r"a Data has its own classes and ids\. Leave out y and ids\."):
        protect("lsp", Data.from_arrays(X, LABELS), LABELS)
    with pytest.raises(UsageError, match=r"only the first are protected: splits\.train"):
        protect("lsp", Splits(Data.from_arrays(X, LABELS), Data.from_arrays(X, LABELS), classes=(), flip=False))
    with pytest.raises(UsageError, match=r"eps = '9' is wrong"):
        protect("lsp[eps=9]", X, LABELS)


def test_tables_understand_settings() -> None:
    assert PROTECTORS["lsp[eps=8/255]"] == PROTECTORS["lsp"](eps=8 / 255)
    assert isinstance(PROTECTORS["em:class"], Protector)
    assert PROTECTORS["em:class"].granularity == "class"
    assert len(DATASETS["digits[size=8]"].train.pixels[0, 0]) == 8
    assert MODELS["resnet8[width=4]"]((3, 32, 32), 10)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert TASKS["classification:label"](make_data()).outputs == 3
    assert DEFENSES["jpeg:75"].purify.keywords == DEFENSES["jpeg"](75).purify.keywords == {"quality": 75}
    assert PROTECTORS["lsp"] is type(PROTECTORS["lsp[eps=8/255]"])


def test_tables_are_still_dictionaries() -> None:
    assert "lsp" in PROTECTORS
    assert "lsp[eps=8/255]" not in PROTECTORS
    assert dict(PROTECTORS)["ops"] is PROTECTORS["ops"]
    assert PROTECTORS.get("lps") is None
    with pytest.raises(UsageError, match=r"unknown protector 'lps'"):
        PROTECTORS["lps"]
    assert repr(TASKS).startswith("Table(tasks: classification, class_scene, ")


def test_functions_and_classes_at_the_top_are_no_modules() -> None:
    import types

    import howfar.protectors
    import howfar.training

    for name in howfar.__all__:
        assert not isinstance(getattr(howfar, name), types.ModuleType), name
