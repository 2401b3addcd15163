"""Run the notebooks and keep their output: ``python examples/render.py``, or ``make notebooks``."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent


def executed(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with the output of a run in ``folder``: no times, and no image twice."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)  # Pillow shows PNG and JPEG
    return notebook


def main() -> None:
    """Render every notebook in place."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(executed(path, FOLDER), path)


if __name__ == "__main__":
    main()
