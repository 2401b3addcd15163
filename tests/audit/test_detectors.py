"""Detectors answer to what they are made for, and to little else."""

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.audit import DETECTORS, Sample, difference
from howfar.audit.calibration import Case, fit
from howfar.audit.detect import scored
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
        ("flat", "lsp[eps=8/255]", 0.4),
        ("flat", "random[granularity=class]", 0.5),
        ("texture", "ar", 0.4),
        ("filters", "cuda", 0.1),
        ("one-pixel", "ops", 0.3),
        ("shared", "random[granularity=class]", 0.3),
        ("linear", "random[granularity=class]", 0.2),
        ("two-layers", "random[granularity=class]", 0.1),
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


def test_networks_that_learned_noise_have_nothing_after_a_jpeg() -> None:
    data = protected(clouds(400), "random[granularity=class,eps=16/255]")
    sample, clean = Sample.of(data), Sample.of(clouds(400))
    assert DETECTORS["early"](sample) > DETECTORS["early"](clean)
    assert DETECTORS["fragile"](sample) > DETECTORS["fragile"](clean)


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
        Case(base, family, drawn(family)) for base in ("one", "two", "three") for family in families for _ in range(60)
    ]


def test_calibration_keeps_its_rate_and_names_families() -> None:
    found = fit(cases(6.0))
    assert found.false_alarms < 0.1
    hits = [found.suspicion(case.scores) > found.threshold for case in cases(6.0) if case.family]
    assert np.mean(hits) > 0.95
    named = [found.family(case.scores)[0] == case.family for case in cases(6.0) if case.family]
    assert np.mean(named) > 0.9
    blind = fit([Case(c.base, c.family, {"a": c.scores["a"]}) for c in cases(0.0)])
    assert np.mean([blind.suspicion(c.scores) > blind.threshold for c in cases(0.0) if c.family]) < 0.2


def test_clusters_follow_what_is_to_be_seen() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    pixels = torch.from_numpy((rng.integers(0, 40, (60, 3, 16, 16)) + 80 * kinds[:, None, None, None]).astype(np.uint8))
    found = clustered(pixels, 3).numpy()
    assert len({(a, b) for a, b in zip(kinds, found, strict=True)}) == 3
    assert (clustered(pixels, 3) == clustered(pixels, 3)).all()
    assert len(clustered(pixels[:2], 5).unique()) == 2
