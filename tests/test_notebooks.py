"""The notebooks run, and show what they show in the repository, but for the numbers."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(\.\d+)?")
PLACE = re.compile(r"/(home|root|tmp|work|Users|usr)/|[A-Z]:\\")  # of a machine


def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render", EXAMPLES / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook: NotebookNode) -> list[str]:
    """Return the output of every cell of code, numbers left out; of images, that there is one."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [output.get("text") or " ".join(sorted(output["data"])) for output in cell.outputs]
            cells.append(re.sub(r" +", " ", NUMBER.sub("#", "".join(texts))))
    return cells


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_show_what_they_show_here(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    assert shown(render().executed(path, tmp_path)) == shown(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_rendered_and_name_no_place(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 100_000
    assert not PLACE.search(path.read_text(encoding="utf-8"))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert {"image/png"} <= {kind for output in outputs for kind in output.get("data", ())}
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["a-new-protector", "how-far-is-my-data"]
