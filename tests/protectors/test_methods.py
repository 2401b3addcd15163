"""Each protector is what its paper says."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from howfar import arrays
from howfar.data import Data, Splits
from howfar.errors import UsageError
from howfar.protectors import PROTECTORS, Draft
from howfar.protectors.ops import nested, separation
from howfar.protectors.protector import class_count, patterned
from howfar.tasks import Task, classification
from howfar.training import pgd

from ..conftest import make_data


def protect(name: str, data: Data, seed: int = 0, **settings: object) -> Data:
    return PROTECTORS[name](**settings).protect(data, classification()(data), generator=arrays.seeded(seed))


def noise_of(name: str, data: Data, **settings: object) -> torch.Tensor:
    return protect(name, data, **settings).pixels.int() - data.pixels.int()


def gray(n: int, shape: tuple[int, int, int], classes: int) -> Data:
    """Return images in the middle of the range, where nothing clips."""
    data = make_data(n, shape, classes)
    return data.with_pixels(torch.full_like(data.pixels, 128))


def test_lsp_has_constant_patches_the_norm_and_linear_separability() -> None:
    data = gray(200, (3, 32, 32), 10)
    noise = noise_of("lsp", data)
    blocks = noise.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)
    assert int((blocks.max(-1).values - blocks.min(-1).values).max()) == 0
    features, labels = noise[:, :, ::8, ::8].flatten(1).numpy(), data.targets["label"].numpy()
    fitted = LogisticRegression(max_iter=1000).fit(features[:100], labels[:100])
    assert fitted.score(features[100:], labels[100:]) > 0.99


def test_lsp_has_the_published_norm_before_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(pgd, "add_rounded", lambda pixels, noise, eps: seen.append(noise) or pixels)
    protect("lsp", gray(30, (3, 32, 32), 10))
    lengths = torch.cat(seen).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.full_like(lengths, 1.304), atol=1e-3)


def test_lsp_gives_every_pixel_of_a_map_the_patch_of_its_class() -> None:
    """Where all pixels of an image are of one class, that is the noise of an image of this class."""
    data = gray(9, (3, 16, 12), 3)
    labels = data.targets["label"]
    maps = labels[:, None, None].repeat(1, 16, 12)
    mixed = maps.clone()
    mixed[:, :, 6:] = (mixed[:, :, 6:] + 1) % 3
    task = classification()(data)

    def noise(target: torch.Tensor) -> torch.Tensor:
        some = Data(data.pixels, {"label": target}, data.ids)
        return (PROTECTORS["lsp"](patch=4).protect(some, task, generator=arrays.seeded(0)).pixels.int() - 128).float()

    whole = noise(maps)
    assert torch.equal(whole, noise(labels))
    halves = noise(mixed)
    assert float(halves.flatten(1).norm(dim=1).min()) > 0.95 * float(whole.flatten(1).norm(dim=1).max())
    for n in range(9):
        left, same = halves[n, :, ::4, 0].flatten(), whole[n, :, ::4, 0].flatten()
        assert np.corrcoef(left, same)[0, 1] > 0.99, "scaled, as the other half has other patches"
    blocks = halves[:, :, :, :4].unfold(2, 4, 4)
    assert (blocks == blocks[..., :1]).all()
    assert not torch.equal(halves[..., 6:], whole[..., 6:])


def test_lsp_refuses_more_classes_than_vertices() -> None:
    with pytest.raises(UsageError, match="smaller patch"):
        protect("lsp", make_data(40, (1, 8, 8), 20), patch=8)


def test_ops_changes_one_pixel_the_same_in_all_images_of_a_class() -> None:
    data = make_data(40, (3, 12, 9), 4)
    protected = protect("ops", data)
    changed = (protected.pixels != data.pixels).any(1).flatten(1)
    assert int(changed.sum(1).max()) <= 1
    for label in range(4):
        members = data.targets["label"] == label
        places = changed[members].any(0).nonzero().flatten()
        assert len(places) == 1
        colors = protected.pixels[members].flatten(2)[:, :, places[0]]
        assert len(colors.unique(dim=0)) == 1
        assert set(colors.flatten().tolist()) <= {0, 255}
    assert torch.equal(protected.pixels, protect("ops", data, seed=9).pixels), "OPS is deterministic"


def test_ops_moments_agree_with_brute_force() -> None:
    data = make_data(100, (3, 6, 5), 1)
    colors = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    fast = separation(data, torch.arange(100), colors)
    x = data.pixels.double() / 255
    slow = torch.stack(
        [
            (distance.mean((0, 1)) / (distance.std((0, 1), correction=0) + 1e-6)).flatten()
            for color in colors
            for distance in [(color.double().view(1, 3, 1, 1) - x).abs()]
        ]
    )
    assert torch.allclose(fast, slow, rtol=1e-9)


def test_ops_takes_the_pixels_that_are_separated_best() -> None:
    data = make_data(40, (1, 8, 9), 2)
    data.pixels[data.targets["label"] == 0, 0, 3, 4] = 250  # always far from black, and by about as much
    data.pixels[data.targets["label"] == 0, 0, 6, 8] = 20
    found = protect("ops", data, pixels=2).pixels[::2, 0]
    changed = (found != data.pixels[::2, 0]).any(0).nonzero().tolist()
    assert changed == [[3, 4], [6, 8]]
    assert (found[:, 3, 4] == 0).all()
    assert (found[:, 6, 8] == 255).all()
    twins = gray(6, (1, 8, 8), 3)
    marks = (protect("ops", twins, pixels=5).pixels != 128).flatten(1)
    assert marks.sum(1).tolist() == [5] * 6
    with pytest.raises(UsageError, match="fewer pixels"):
        protect("ops", twins, pixels=65)
    with pytest.raises(UsageError, match="fewer pixels"):
        protect("ops", twins, pixels=43)  # 3 classes of 43 pixels are more than 2 colors of 64
    assert (protect("ops", twins, pixels=42).pixels != 128).flatten(1).sum(1).tolist() == [42] * 6


def test_ops_keeps_all_other_pixels_of_what_is_applied_first() -> None:
    data = gray(12, (3, 8, 8), 3)
    first, both = protect("lsp", data).pixels, protect("ops", data, after="lsp").pixels
    differs = (first != both).any(1).flatten(1).sum(1)
    assert differs.tolist() == [1] * 12
    assert not torch.equal(first, data.pixels)


def test_ops_gives_no_two_classes_the_same_pixel_and_colour() -> None:
    protected = protect("ops", gray(60, (1, 6, 6), 30))
    changed = (protected.pixels != 128).flatten(2).nonzero()
    marks = {
        (int(place), int(protected.pixels[image].flatten()[place]), int(image) % 30) for image, _, place in changed
    }
    assert len({mark[:2] for mark in marks}) == 30


def test_random_noise_is_uniform_and_class_wise_noise_is_shared() -> None:
    data = gray(400, (1, 16, 16), 4)
    noise = noise_of("random", data)
    counts = torch.bincount(noise.flatten() + 8)
    inner = counts[1:-1].double() / counts.sum()
    assert torch.allclose(inner, torch.full_like(inner, 1 / 16), atol=0.003)
    shared = noise_of("random", data, granularity="class")
    for label in range(4):
        assert len(shared[data.targets["label"] == label].unique(dim=0)) == 1
    assert len(shared.unique(dim=0)) == 4


@pytest.mark.parametrize("granularity", ["sample", "class"])
def test_random_noise_keeps_its_budget_after_rounding(granularity: str) -> None:
    noise = noise_of("random", gray(40, (1, 16, 16), 4), granularity=granularity, eps=7.6 / 255)
    assert (int(noise.min()), int(noise.max())) == (-7, 7), "7.6 would round to 8"


@pytest.mark.parametrize("name", ["random", "em"])
def test_what_a_class_shares_needs_labels(name: str) -> None:
    assert PROTECTORS[name](granularity="class").uses_labels
    assert PROTECTORS[name]().uses_labels == (name == "em")


def test_em_reaches_its_stop_error_keeps_negative_noise_and_obeys_its_cap(digits: Splits, task: Task) -> None:
    data, draft = digits.train.take(range(300)), Draft()
    em = PROTECTORS["em"](eps=16 / 255, steps=5)
    protected = em.protect(data, task, generator=arrays.seeded(0), draft=draft)
    assert draft.curve[-1] <= 0.01 < draft.curve[0]
    change = protected.pixels.int() - data.pixels.int()
    bright = data.pixels > 16  # elsewhere the image has no room below
    assert int(change[bright].min()) < -8
    assert 0.3 < float((change[bright] < 0).double().mean()) < 0.7
    capped = Draft()
    PROTECTORS["em"](rounds=1, steps=1).protect(data, task, generator=arrays.seeded(0), draft=capped)
    assert len(capped.curve) == 1


def test_class_wise_em_is_one_noise_a_class(digits: Splits, task: Task) -> None:
    data = digits.train.take(range(200))
    flat = data.with_pixels(torch.full_like(data.pixels, 128))
    noise = PROTECTORS["em"](granularity="class", rounds=3).protect(flat, task, generator=arrays.seeded(0)).pixels
    assert len(noise.unique(dim=0)) == 10


def test_noise_statistics_do_not_depend_on_the_subset() -> None:
    data = gray(50, (1, 8, 8), 2)
    part_of = data.take(range(0, 50, 3))
    for name in ("random", "lsp"):
        whole, part = (protect(name, chosen).pixels for chosen in (data, part_of))
        assert np.array_equal(whole[::3].numpy(), part.numpy()), name


def test_every_pixel_has_the_noise_of_its_own_class_at_its_place() -> None:
    patterns = torch.arange(3 * 2 * 4 * 5).view(3, 2, 4, 5).float() + 1
    labels = torch.randint(0, 3, (6, 4, 5), generator=arrays.seeded(0)).to(torch.uint8)
    labels[1, 2] = arrays.VOID
    found = patterned(patterns, labels)
    assert found.shape == (6, 2, 4, 5)
    for image, label, i, j in itertools.product(range(6), range(3), range(4), range(5)):
        if labels[image, i, j] == label:
            assert torch.equal(found[image, :, i, j], patterns[label, :, i, j])
    assert not found[1, :, 2].any(), "and those of none have nothing"
    assert torch.equal(patterned(patterns, torch.tensor([2, 0])), patterns[[2, 0]])
    assert class_count(labels) == class_count(torch.tensor([2, 0])) == 3


def test_which_targets_a_protector_takes() -> None:
    labels, maps = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 8, 8, dtype=torch.int64)
    depth, several = torch.zeros(4, 1, 8, 8), {"one": labels, "other": maps}
    targets = (labels, maps, depth, labels.float(), several)
    for method, expected in {
        "lsp": "yynnn",  # maps
        "ops": "ynnnn",  # classes
        "carriers": "yyyyy",  # any
        "random": "yyyyy",  # needs none
    }.items():
        assert "".join("ny"[PROTECTORS[method]().takes(target)] for target in targets) == expected, method
    assert "".join("ny"[PROTECTORS["random"](granularity="class").takes(target)] for target in targets) == "yynnn"
    assert PROTECTORS["em"].sources == "any"
    assert "".join("ny"[PROTECTORS["em"]().takes(target)] for target in targets) == "yyyyy"
    assert "".join("ny"[PROTECTORS["em"](granularity="class").takes(target)] for target in targets) == "ynnnn"


def test_ops_names_the_protector_that_is_applied_first() -> None:
    assert nested({"after": "clean"}) == []
    assert [spec.name for spec in nested({"after": "em[steps=3]"})] == ["em"]
