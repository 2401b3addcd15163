"""Shapes and types are checked at run time in tests, and only there."""

from jaxtyping import install_import_hook

install_import_hook("howfar", "tests.checked")

import os  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from howfar import arrays  # noqa: E402
from howfar.data import DATASETS, Data, Splits  # noqa: E402
from howfar.tasks import Task, classification  # noqa: E402

REAL_DATA = "HOWFAR_TEST_DATA"  # names the folder with real images; see CONTRIBUTING.md
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
torch.set_num_threads(1)
torch.cpu.get_capabilities = dict  # float32 on every processor, so that all of them judge the same numbers


@pytest.fixture(scope="session")
def digits() -> Splits:
    return DATASETS["digits"]()


@pytest.fixture(scope="session")
def task(digits: Splits) -> Task:
    return classification()(digits.train)


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the data sets and stores of whoever runs the tests out of sight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWFAR_DATA", str(tmp_path_factory.mktemp("howfar-data")))
        yield


def real_data() -> Path | None:
    """Return the folder with real images; None if the environment names none.

    Raises:
        FileNotFoundError: if it names a folder that is not there.
    """
    named = os.environ.get(REAL_DATA)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise FileNotFoundError(f"{REAL_DATA} is {named}, which is no folder. Correct it, or unset it.")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = real_data()
    if folder is None:
        pytest.skip(f"{REAL_DATA} names no folder with real images")
    return folder


class TestTask:
    """What a task of a test need not say itself: its mean quality is the metric ``score``."""

    __test__ = False
    target, outputs, metric, higher_is_better, chance, quality_chance = "label", 1, "score", True, 0.0, 0.0

    def prepare(self, data: Data) -> Data:
        return data

    def transformed(self, target: Any, linear: torch.Tensor) -> Any:
        return target

    def predict(self, output: Any) -> Any:
        return output

    def statistics(self, output: Any, target: Any) -> torch.Tensor:
        quality = self.quality(output, target).double()  # type: ignore[attr-defined]
        return torch.stack([quality.sum(), torch.full_like(quality.sum(), len(quality))])

    def metrics(self, statistics: torch.Tensor) -> dict[str, float]:
        return {"score": float(statistics[0] / statistics[1])}


def make_data(n: int = 24, shape: tuple[int, int, int] = (3, 12, 10), classes: int = 3, seed: int = 0) -> Data:
    """Return random images with every class present and ids that are not positions."""
    generator = arrays.seeded(seed, "test data")
    pixels = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % classes
    return Data(pixels=pixels, targets={"label": labels}, ids=torch.arange(n) * 7 + 3)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a real browser, for what is shown in one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()
