"""Worth: closed forms, coverage of its interval, and what protected digits are worth."""

from pathlib import Path

import numpy as np
import pytest

import howfar
from howfar.errors import UsageError
from howfar.report import worth as report
from howfar.report.text_tables import markdown
from howfar.score import worth

SIZES = sorted({round(1.15**power) for power in range(58)})  # 1 to 2,884
NAMES = ("random[eps=16/255]", "lsp[eps=64/255]", "lsp[eps=64/255,share=0.5]")


def known(images: float) -> float:
    """Return how much of a prior variance of 1 the mean of so many images with noise of variance 1 explains."""
    return images / (1 + images)


def curve(noise: float = 0.0, random: np.random.Generator | None = None) -> dict[int, list[float]]:
    random = random or np.random.default_rng(0)
    return {size: [known(size) + noise * random.normal() for _ in range(3)] for size in SIZES}


@pytest.mark.parametrize("efficiency", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("clean", [1, 20, 200])
def test_noisy_images_are_worth_their_information(efficiency: float, clean: int) -> None:
    """Images with 1 / efficiency of the noise variance carry efficiency times the information of clean ones."""
    protected = 500
    quality = known(clean + efficiency * protected)
    found = worth(curve(), [quality] * 3, clean=clean, protected=protected, chance=0.0)
    assert found.value == pytest.approx(efficiency, rel=0.02, abs=1e-3)
    assert found.ends == pytest.approx((found.value, found.value), abs=1e-6)


def test_harmful_images_are_worth_less_than_nothing() -> None:
    found = worth(curve(), [known(5)] * 3, clean=50, protected=90, chance=0.0)
    assert found.value == pytest.approx(-0.5)
    assert worth(curve(), [-0.3] * 3, clean=50, protected=50, chance=0.0).value == -1  # as no images at all


def test_the_interval_covers_the_true_worth() -> None:
    random, inside, clean, protected, noise = np.random.default_rng(0), 0, 20, 500, 0.002
    for _ in range(300):
        mixture = [known(clean + 0.3 * protected) + noise * random.normal() for _ in range(3)]
        found = worth(curve(noise, random), mixture, clean=clean, protected=protected, chance=0.0)
        assert found.ends is not None
        inside += found.ends[0] <= 0.3 <= found.ends[1]
    assert 0.91 <= inside / 300 <= 0.99


def test_ends_are_cut_where_the_curve_ends() -> None:
    found = worth({10: [0.3, 0.5], 100: [0.5, 0.7]}, [0.6, 0.8], clean=10, protected=90, chance=0.1)
    assert found.value == pytest.approx(1.0)
    assert found.ends is not None
    assert found.ends[1] == pytest.approx(1.0)
    assert worth({10: [0.3], 100: [0.5]}, [0.4], clean=10, protected=90, chance=0.1).ends is None


def test_a_plateau_counts_as_its_fewest_images() -> None:
    found = worth({10: [0.5, 0.5], 100: [0.5, 0.5], 1000: [0.4, 0.4]}, [0.5, 0.5], clean=0, protected=10, chance=0.1)
    assert found.value == pytest.approx(1.0)


def test_nothing_protected_has_no_worth() -> None:
    with pytest.raises(UsageError, match="at least one protected image"):
        worth({10: [0.5]}, [0.5], clean=1, protected=0, chance=0.1)


def test_shortcuts_are_worth_less_than_noise(tmp_path: Path) -> None:
    mixtures = [f"mix[clean={count}{alone}]" for count in (20, 100) for alone in ("", ",alone=true")]
    results = howfar.bench(
        "digits", protectors=NAMES, models="linear", defenses=mixtures, seeds="0-1",
        runs=tmp_path, limit_train=400, held_out=280, probe_images=0, alignment_images=0, train={"epochs": 8},
    )  # fmt: skip
    found = {(one.protector, one.clean): one for one in results.page.worths}
    assert set(found) == {(name, count) for name in NAMES for count in (20, 100)}
    for count in (20, 100):
        noise, shortcut, half = (found[name, count] for name in NAMES)
        assert noise.worth.value > 0.4
        assert shortcut.worth.value < 0.2
        assert noise.images == 400
        assert noise.full > noise.alone > 0.2
        assert half.quality > shortcut.quality
        assert half.equivalent.value == pytest.approx(half.worth.value * 200)
    assert len([row for row in results.page.rows if "alone" in row.defense]) == 2, "run with clean images only"
    assert not results.page.verdicts, "mixtures are no defenses"
    text = markdown(results.page)
    assert "worth of 400 images" in text
    assert "| lsp[eps=64/255,share=0.5] |" in text
    assert len(report.chart(results.page.worths)["data"]) == 5
    results.save_html(tmp_path / "page.html")
    assert "Quality along the number of clean images" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_too_few_held_out_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(howfar.HowfarError, match="held_out=1000"):
        howfar.bench("digits", models="linear", defenses="mix[clean=500]", protectors="ops", seeds="0", runs=tmp_path)
