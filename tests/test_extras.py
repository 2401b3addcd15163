"""The core works without what the extras bring, and says which extra is missing before any work."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from howfar import errors
from howfar.data.files import fetch
from howfar.data.maps import segment_unsup2d
from howfar.errors import UsageError
from howfar.report.html import rendered

from .test_cli import inside

ROOT = Path(__file__).parents[1]
OPTIONAL = ("plotly", "jinja2", "torchmetrics", "skimage", "pooch", "requests", "matplotlib", "pyarrow", "ray",
            "s3fs", "accelerate", "diffusers", "pillow_heif", "peft")  # fmt: skip
CORE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from howfar import DATASETS, DEFENSES, MODELS, PROTECTORS, Recipe, alignment, arrays, build, sharpness
from howfar.score import visibility
from howfar.tasks import classification
from howfar.training import evaluate, train

splits = DATASETS["digits"]()
task = classification()(splits.train)
clean = splits.train.take(range(200))
protected = PROTECTORS["ops"]().protect(clean, task, generator=arrays.seeded(0))
model = build(MODELS["lenet5"](), clean.shape, task.outputs, generator=arrays.seeded(0))
for epoch in train(model, protected, task, Recipe(epochs=1, batch_size=50)):
    print(epoch.number, DEFENSES["median"]())
print(evaluate(model, splits.test, task), sharpness(model, clean, task), alignment(model, clean, protected, task))
print(visibility(clean, protected))
from howfar.cli import main
main(["bench", "--suite", "digits", "--dry-run"])
"""


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what lets a package seem not to be installed."""

    def lack(package: str) -> None:
        def found(name: str) -> ModuleSpec | None:
            return None if name == package else find_spec(name)

        monkeypatch.setattr(errors, "find_spec", found)

    return lack


def test_the_core_protects_trains_probes_and_scores_alone(tmp_path: Path) -> None:
    code = CORE.replace("ABSENT", repr(set(OPTIONAL) - {"jinja2"}))  # torch brings it
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_core_has_few_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]}
    assert len(core) <= 15
    assert not core & {"plotly", "jinja2", "torchmetrics", "scikit-image", "pooch", "requests"}


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("jinja2", "report", lambda path: rendered("page.html", ())),
        ("skimage", "tasks", lambda path: segment_unsup2d(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))),
        ("pooch", "download", lambda path: fetch("https://example.org/file", "md5:0", path)),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, extra: str, call: Callable[[Path], object], without: Callable[[str], None], tmp_path: Path
) -> None:
    without(package)
    with pytest.raises(UsageError, match=rf"needs {package}. Install it: pip install 'howfar\[{extra}\]'"):
        call(tmp_path)


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("bench --suite digits --runs new", "plotly", "report"),
        ("landscape --runs new", "plotly", "report"),
        ("verify a b --runs new", "plotly", "report"),
        ("ud --clean a --poisoned b --runs new", "plotly", "report"),
    ],
)
def test_a_command_says_so_before_any_work(
    command: str, package: str, extra: str, without: Callable[[str], None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    without(package)
    monkeypatch.chdir(tmp_path)
    code, shown, message = inside(*command.split())
    assert code == 2
    assert shown == ""
    assert f"pip install 'howfar[{extra}]'" in message.replace("\n", " ")
    assert not list(tmp_path.rglob("record.json"))
