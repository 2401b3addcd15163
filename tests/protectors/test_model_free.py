"""AR, CUDA, PIL and Delusive noise: what their papers promise."""

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.arrays import Images
from howfar.errors import UsageError
from howfar.protectors import PROTECTORS, Draft, ar
from howfar.protectors.ar import BURN_IN, _starts, find_filters, process, responses
from howfar.protectors.cuda import blur, convolve
from howfar.tasks import classification
from howfar.training import pgd

from .test_methods import gray, noise_of, protect


def test_ar_noise_follows_its_class_and_channel() -> None:
    filters, reached = find_filters(4, 3, 0, least=10.0)
    assert reached >= 10, "found without relaxing the bound"
    assert np.allclose(filters.sum((2, 3)), 1, atol=1e-4)
    assert not filters[:, :, 2, 2].any()
    starts = np.random.default_rng(0).standard_normal((5, 3, 20, 24)).astype(np.float32)
    for label in range(4):
        noise = process(starts, filters[label])
        for i, j in ((2, 2), (7, 13), (19, 23)):
            window = noise[:, :, i - 2 : i + 1, j - 2 : j + 1]
            assert np.allclose((window * filters[label]).sum((2, 3)), noise[:, :, i, j], atol=1e-4)
        own = noise[:1, :, BURN_IN:, BURN_IN:] / np.linalg.norm(noise[:1, :, BURN_IN:, BURN_IN:])
        found = responses(own, filters)[0]
        assert found[label] < 1e-3 < np.delete(found, label).min(), "a process must not look like another one"


def test_ar_response_is_one_convolution_over_all_channels() -> None:
    noise = torch.randn(5, 3, 9, 8, generator=arrays.seeded(0))
    filters = torch.randn(4, 3, 3, 3, generator=arrays.seeded(1))
    filters[:, :, 2, 2] = 0
    found = responses(noise.numpy(), filters.numpy())
    kernels = filters.clone()
    kernels[:, :, 2, 2] = -1
    for i in range(5):
        for j in range(4):
            joint = torch.nn.functional.conv2d(noise[i : i + 1], kernels[j : j + 1])
            assert joint.shape == (1, 1, 7, 6)
            assert found[i, j] == pytest.approx(float(joint.relu().sum()), rel=1e-4)
    # Where one channel's rest is the negative of another's nothing is left, though each channel alone responds.
    flat = torch.zeros(1, 3, 3, 3)
    flat[0, 0, 2, 2], flat[0, 1, 2, 2] = 1, -1
    assert responses(flat.numpy(), np.zeros((1, 3, 3, 3), np.float32)).item() == 0


def test_ar_filters_respond_as_published_to_all_later_noise() -> None:
    filters, reached = find_filters(10, 3, 0, least=10.0)
    assert reached >= 10
    starts = np.random.default_rng(1).standard_normal((30, 3, 36, 36)).astype(np.float32)
    runs = [process(starts, one)[:, :, BURN_IN:, BURN_IN:] for one in filters]
    unit = [run / np.sqrt(np.square(run).sum((1, 2, 3), keepdims=True)) for run in runs]
    mean = np.stack([responses(run, filters).mean(0) for run in unit])
    later = mean[np.tril_indices(10, -1)]
    assert later.min() > 5, "other starts of the same processes, whose responses vary"
    assert np.median(later) > 10
    again, same = find_filters(10, 3, 0, least=10.0)
    assert np.array_equal(filters, again)
    assert reached == same


def test_ar_says_what_its_search_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    data, draft = gray(20, (3, 16, 16), 4), Draft()
    work = PROTECTORS["ar"](response=10.0).progress(
        data, classification()(data), generator=arrays.seeded(0), draft=draft
    )
    notes = [step.note for step in work]
    assert draft.notes["response asked for"] == 10
    assert draft.notes["response reached"] >= 10
    assert any(f"{draft.notes['response reached']:.1f}," in note for note in notes)
    monkeypatch.setattr(ar, "PATIENCE", 1)
    monkeypatch.setattr(ar, "PROPOSALS", 256)
    filters, reached = find_filters(3, 1, 0, least=30.0)
    assert len(filters) == 3
    assert 5 < reached < 30, "a bound that nothing meets is relaxed"


def test_ar_has_the_published_norm_before_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = pgd.add_rounded
    monkeypatch.setattr(pgd, "add_rounded", lambda pixels, noise: seen.append(noise) or real(pixels, noise))
    protect("ar", gray(30, (3, 32, 32), 10))
    lengths = torch.cat(seen).flatten(1).norm(dim=1)
    assert torch.isfinite(lengths).all()
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)


def test_ar_starts_from_two_rows_and_two_columns_of_normal_noise_by_id() -> None:
    ids = torch.arange(300) * 5
    starts = _starts(ids, 11, (3, 7, 9))
    assert starts.shape == (300, 3, 7 + BURN_IN, 9 + BURN_IN)
    assert not starts[:, :, 2:, 2:].any()
    drawn = np.concatenate([starts[:, :, :2].reshape(900, -1), starts[:, :, 2:, :2].reshape(900, -1)], 1)
    assert drawn.shape[1] == 2 * 13 + 2 * 9
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    assert np.abs(np.corrcoef(drawn.T) - np.eye(44)).max() < 0.2, "no entry is that of another"
    assert np.array_equal(_starts(ids[[7, 3]], 11, (3, 7, 9)), starts[[7, 3]])
    assert not np.array_equal(_starts(ids[:1], 12, (3, 7, 9)), starts[:1])


@pytest.mark.parametrize(("classes", "channels"), [(37, 3), (10, 1)])
def test_ar_finds_filters_for_many_classes_and_for_gray(classes: int, channels: int) -> None:
    filters, reached = find_filters(classes, channels, 1, least=3.0)
    assert reached >= 3
    assert filters.shape == (classes, channels, 3, 3)
    assert np.isfinite(process(np.ones((2, channels, 36, 36), np.float32), filters[-1])).all()


def test_cuda_convolves_a_class_with_one_filter() -> None:
    images = torch.rand(6, 3, 9, 11, generator=arrays.seeded(0))
    filters = torch.rand(3, 3, 3, generator=arrays.seeded(1)).repeat_interleave(2, 0)
    found = convolve(images, filters)
    for image, kernel, out in zip(images, filters, found, strict=True):
        plain = torch.nn.functional.conv2d(image[:, None], kernel[None, None], padding=1)[:, 0]
        assert torch.allclose(out, plain / plain.max(), atol=1e-5)
    assert torch.allclose(found.amax((1, 2, 3)), torch.ones(6))
    assert not convolve(torch.zeros(1, 3, 8, 8), filters[:1]).any(), "black stays black"


def test_cuda_brightens_every_image_to_the_maximum() -> None:
    data = gray(20, (3, 16, 16), 4)
    pixels = protect("cuda", data).pixels
    assert pixels.flatten(1).amax(1).eq(255).all()
    first = pixels[data.targets["label"] == 1]
    assert (first == first[0]).all(), "equal images of a class stay equal"


@pytest.mark.parametrize("side", [3, 5])
def test_cuda_convolves_every_pixel_with_the_filter_of_its_own_class(side: int) -> None:
    images = torch.rand(4, 3, 7, 9, generator=arrays.seeded(0)) / 50
    filters = torch.rand(3, side, side, generator=arrays.seeded(1))
    labels = torch.randint(0, 3, (4, 7, 9), generator=arrays.seeded(2)).to(torch.uint8)
    labels[0, :2] = arrays.VOID
    expected = images.clone()  # pixels of no class stay
    for label, kernel in enumerate(filters):
        flat = images.flatten(0, 1)[:, None]
        plain = torch.nn.functional.conv2d(flat, kernel[None, None], padding=side // 2).view_as(images)
        expected = torch.where((labels == label)[:, None], plain, expected)
    found = blur(images, filters, labels)
    assert torch.allclose(found, expected / expected.amax((1, 2, 3), keepdim=True), atol=1e-5)
    assert not blur(torch.zeros_like(images), filters, labels).any(), "black stays black"
    assert torch.equal(blur(images, filters, torch.arange(4) % 3), convolve(images, filters[[0, 1, 2, 0]]))


def test_cuda_filters_have_one_entry_of_1_and_others_up_to_the_blur() -> None:
    entries = torch.stack([PROTECTORS["cuda"](kernel=5, blur=0.2)._filter(7, label) for label in range(40)])
    assert entries.shape == (40, 5, 5)
    others = entries.flatten(1).sort(1).values
    assert (others[:, -1] == 1).all()
    assert 0 <= float(others.min()) < 0.01 < 0.19 < float(others[:, :-1].max()) <= 0.2
    assert len(set(entries.flatten(1).argmax(1).tolist())) > 12, "at a random place"
    assert torch.equal(entries[3], PROTECTORS["cuda"](kernel=5, blur=0.2)._filter(7, 3)), "of seed and class alone"
    with pytest.raises(UsageError, match="kernel = 4 has no center"):
        protect("cuda", gray(4, (3, 8, 8), 2), kernel=4)


def test_pil_hides_the_image_from_a_linear_model_and_shows_the_class() -> None:
    data = gray(60, (3, 12, 12), 3)
    data = data.with_pixels(torch.randint(40, 216, data.pixels.shape, generator=arrays.seeded(0), dtype=torch.uint8))
    noise = noise_of("pil", data).float()
    assert float(noise.abs().mean()) > 4, "most of the budget is used"
    centers = torch.stack([noise[data.targets["label"] == label].mean(0).flatten() for label in range(3)])
    scores = noise.flatten(1) @ (centers - centers.mean(0)).T
    assert float((scores.argmax(1) == data.targets["label"]).float().mean()) > 0.95


@pytest.mark.parametrize("kind", ["p1", "p3", "p5"])
def test_delusive_noise_has_its_norm(kind: str) -> None:
    data = gray(24, (3, 16, 16), 3)
    protector = PROTECTORS["delusive"](kind=kind, epochs=1, steps=5, surrogate="resnet8[width=4]", eps=2.0)
    protected = protector.protect(data, classification()(data), generator=arrays.seeded(0))
    lengths = ((protected.pixels.float() - data.pixels.float()) / 255).flatten(1).norm(dim=1)
    assert float(lengths.max()) < 1.02, "2.0 at 32×32 is 1.0 at 16×16"
    assert float(lengths.min()) > 0.5


def test_steps_in_the_l2_ball_reach_the_far_corner() -> None:
    images = torch.full((2, 1, 8, 8), 0.5)

    def loss(x: Images) -> torch.Tensor:
        return x.flatten(1).sum(1)

    noise = pgd.descend_l2(images, torch.zeros_like(images), loss, eps=0.4, step_size=0.1, steps=10)
    assert torch.allclose(noise.flatten(1).norm(dim=1), torch.full((2,), 0.4), atol=1e-5)
    assert torch.allclose(noise, torch.full_like(noise, -0.05), atol=1e-5)
