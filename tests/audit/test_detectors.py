"""Detectors answer to what they are made for, and to little else."""

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.audit import DETECTORS, Sample, difference
from howfar.audit.detect import scored
from howfar.audit.fit import Case, fit
from howfar.audit.sample import median
from howfar.data import DATASETS, Data, balanced, clustered
from howfar.errors import UsageError
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import classification


def clouds(count: int = 200, classes: int = 4, seed: int = 0) -> Data:
    """Smooth images whose color says a little about their class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    coarse = rng.normal(128, 40, (count, 3, 4, 4)) + 10 * labels[:, None, None, None]
    small = torch.from_numpy(coarse).float()
    images = torch.nn.functional.interpolate(small, (32, 32), mode="bicubic", align_corners=False)
    pixels = images.clamp(0, 255).round().to(torch.uint8)
    return Data(pixels, {"label": torch.from_numpy(labels)}, torch.arange(count))


def protected(data: Data, protector: str) -> Data:
    method = parse(protector, PROTECTORS, "protector").build()
    return method.protect(data, classification()(data), generator=arrays.seeded(0))


@pytest.mark.parametrize(
    ("detector", "protector", "least"),
    [
        ("flat", "lsp[eps=8/255]", 0.1),
        ("flat", "random[granularity=class]", 0.5),
        ("texture", "ar", 0.4),
        ("filters", "cuda", 0.1),
        ("one-pixel", "ops", 0.3),
        ("shared", "random[granularity=class]", 0.3),
        ("linear", "random[granularity=class]", 0.2),
        ("fine-texture", "ar", 0.2),
        ("remainder", "ops", 0.3),
    ],
)
def test_detectors_find_what_they_are_made_for(detector: str, protector: str, least: float) -> None:
    clean = clouds()
    before, after = (DETECTORS[detector](Sample.of(data)) for data in (clean, protected(clean, protector)))
    assert after - before > least


def test_noise_without_labels_is_no_protection() -> None:
    clean = clouds()
    noisy = protected(clean, "random")
    for name in ("flat", "texture", "linear", "shared"):
        before, after = (DETECTORS[name](Sample.of(data)) for data in (clean, noisy))
        assert abs(after - before) < 0.3, name


def test_half_the_size_keeps_what_is_seen() -> None:
    """Textures of cells of two pixels are seen at half the size as well, noise of single pixels is not."""
    fine, coarse = (
        DETECTORS["fine-texture"](Sample.of(protected(clouds(), name))) for name in ("ar", "carriers[cell=2]")
    )
    assert fine > coarse + 0.2


def test_a_median_is_that_of_scipy() -> None:
    from scipy.ndimage import median_filter

    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 9, 12), dtype=np.uint8)
    assert (median(pixels) == median_filter(pixels, size=(1, 1, 3, 3), mode="nearest")).all()


def test_a_sample_holds_the_largest_classes_and_small_sets_are_split_often() -> None:
    data = clouds(300, classes=12)
    few = data.take((data.targets["label"] < 11).nonzero().flatten())
    labels = torch.cat([few.targets["label"], torch.full((5,), 11)])
    whole = Data(torch.cat([few.pixels, few.pixels[:5]]), {"label": labels}, torch.arange(len(labels)))
    sample = Sample.of(whole)
    assert sample.classes == 10
    assert np.bincount(sample.labels).min() >= 8
    assert len(Sample.of(clouds(100)).splits) > len(Sample.of(clouds(600)).splits) == 1
    for first, second in sample.splits:
        assert not set(first) & set(second)
        assert len(first) + len(second) == len(sample.labels)


def test_scores_are_the_same_twice() -> None:
    data = balanced(DATASETS["digits"]().train, 120, target="label")
    assert dict(scored(data, seed=3)) == dict(scored(data, seed=3))


def test_too_little_is_refused() -> None:
    with pytest.raises(UsageError, match="two classes"):
        dict(scored(clouds(8, classes=1)))
    with pytest.raises(UsageError, match="at least 8"):
        dict(scored(clouds(12, classes=4)))


def test_difference_is_what_was_changed() -> None:
    clean = clouds(40)
    pixels = clean.pixels.clone()
    pixels[::2, :, 3, 5] = pixels[::2, :, 3, 5].clamp(max=200) + 7
    pixels = pixels.where(clean.pixels <= 200, clean.pixels)
    found = difference(clean, clean.with_pixels(pixels))
    touched = (pixels != clean.pixels).flatten(1).any(1)
    assert found.changed == pytest.approx(float(touched.float().mean()))
    assert found.budget.linf == 7
    assert found.largest == (7, 7, 7)
    assert found.by_class[1] == 0.0
    assert found.by_class[0] == pytest.approx(7 / 255 * 3**0.5, rel=0.3)
    assert sum(found.bands.values()) == pytest.approx(1.0)
    assert difference(clean, clean).changed == 0.0


def test_difference_tells_shared_noise_from_own() -> None:
    clean = clouds(80)
    assert difference(clean, protected(clean, "random[granularity=class]")).shared > 0.8
    assert abs(difference(clean, protected(clean, "random")).shared) < 0.3


def cases(shift: float) -> list[Case]:
    rng = np.random.default_rng(0)

    def drawn(family: str) -> dict[str, float]:
        means = {"a": shift * bool(family), "b": 6.0 * (family == "y"), "c": 6.0 * (family == "z")}
        return {name: rng.normal(mean) for name, mean in means.items()}

    families = ("", "", "x", "y", "z")
    return [
        Case(source, size, family, drawn(family))
        for source in ("one", "two", "three") for size in (30, 100, 500) for family in families for _ in range(20)
    ]  # fmt: skip


def test_calibration_keeps_its_rate_and_names_families() -> None:
    found, fresh = fit(cases(8.0)), cases(8.0)
    alarms = [found.suspicion(case.scores, case.size) > 1 for case in fresh if not case.family]
    assert np.mean(alarms) <= 0.05
    assert np.mean([found.suspicion(case.scores, case.size) > 1 for case in fresh if case.family]) > 0.9
    assert min(found.found) > 0.8
    assert found.enough(0.8) == 30
    named = [found.family(case.scores, case.size)[0] == case.family for case in fresh if case.family]
    assert np.mean(named) > 0.9
    blind = fit([Case(c.source, c.size, c.family, {"a": c.scores["a"]}) for c in cases(0.0)])
    assert max(blind.found) < 0.2
    assert blind.enough(0.8) is None


def test_suspicion_rises_with_every_score() -> None:
    found = fit(cases(6.0))
    for size in (30, 57, 100, 400, 500, 9000):
        for name in found.weights:
            values = [
                found.suspicion({"a": 1.0, "b": 1.0, "c": 1.0} | {name: value}, size)
                for value in np.linspace(-3, 9, 40)
            ]
            assert values == sorted(values)


def test_a_limit_is_passed_by_one_set_of_a_source_at_most() -> None:
    known = cases(6.0)
    found = fit(known)
    for low, high in ((30, 100), (100, 500)):
        for source in ("one", "two", "three"):
            own = [c for c in known if c.source == source and c.size in (low, high) and not c.family]
            place = low if low > 30 else 31  # between both sizes
            combined = [found.combined(c.scores, c.size) for c in own]
            assert sum(value > found.limits[found._between(place)] for value in combined) <= 1
            assert found.false_alarms(place) == (2 / (len(own) + 1), len(own))


def test_clusters_follow_what_is_to_be_seen() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    pixels = torch.from_numpy((rng.integers(0, 40, (60, 3, 16, 16)) + 80 * kinds[:, None, None, None]).astype(np.uint8))
    found = clustered(pixels, 3).numpy()
    assert len({(a, b) for a, b in zip(kinds, found, strict=True)}) == 3
    assert (clustered(pixels, 3) == clustered(pixels, 3)).all()
    assert len(clustered(pixels[:2], 5).unique()) == 2
