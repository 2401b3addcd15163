"""Export of protected sets as images or archives."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from howfar.errors import UsageError
from howfar.poison.artifact import MANIFEST, Artifact
from howfar.score import recorded, visibility
from howfar.store import write_text
from howfar.unfinished import atomic_write, remove


def export(artifact: Artifact, output: Path, *, jpeg: int | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Write a protected set as images or as an archive; returns the budget of what was written.

    Args:
        artifact: the protected set.
        output: a new folder (one subfolder per class, files named by id), or a file that ends in ``.npz``.
        jpeg: quality of a lossy export; None writes lossless PNGs.
        overwrite: replace an earlier export: an archive, or the images in its manifest.

    Raises:
        UsageError: if the output exists and cannot be replaced, or for a lossy archive.
    """
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists. Choose another name, or give --overwrite.")
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise UsageError(f"--jpeg {jpeg} is out of range. Use 1 to 100.")
    if output.suffix == ".npz" and output.is_dir():
        raise UsageError(f"{output} is a folder. Choose another name.")
    if output.suffix != ".npz" and output.exists():
        _check_replaceable(output)
    data = artifact.data
    clean = data.with_pixels((data.pixels.to(torch.int16) - artifact.noise).to(torch.uint8))
    if output.suffix == ".npz":
        if jpeg is not None:
            raise UsageError("an .npz is lossless. Give a folder with --jpeg.")
        labels = {f"y_{name}": values.numpy() for name, values in data.targets.items()}
        output.parent.mkdir(parents=True, exist_ok=True)
        entries: dict[str, Any] = {"x": data.pixels.permute(0, 2, 3, 1).numpy(), "ids": data.ids.numpy(), **labels}
        with atomic_write(output) as draft, draft.open("wb") as file:
            np.savez_compressed(file, **entries)
        return recorded(artifact.manifest["budget"])
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as draft:
        written, files = _images(artifact, draft, jpeg)
        budget = visibility(clean, data.with_pixels(written)).record()
        about = {key: value for key, value in artifact.manifest.items() if key not in ("digests", "format")}
        about |= {"budget": budget, "files": files, "lossy": None if jpeg is None else f"JPEG {jpeg}"}
        write_text(draft / MANIFEST, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
        remove(output)  # the earlier export is removed once the new one is complete
    return budget


def _check_replaceable(folder: Path) -> None:
    """Raise ``UsageError`` unless a folder holds only an earlier export."""
    foreign = f"{folder} is not an export of howfar, or holds other files as well. Choose another name."
    try:
        files = [folder / name for name in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(foreign) from None
    known = {folder / MANIFEST, *files}
    if {path for path in folder.rglob("*") if not path.is_dir()} - known:
        raise UsageError(foreign)


def _images(artifact: Artifact, output: Path, jpeg: int | None) -> tuple[torch.Tensor, dict[str, int]]:
    """Write one file per image; returns the decoded pixels, and the id of every file."""
    data = artifact.data
    labels = data.targets.get(artifact.manifest.get("target", "label"))
    labels = None if labels is None or labels.ndim != 1 or labels.is_floating_point() else labels
    decoded, files = torch.empty_like(data.pixels), {}
    for place, key in enumerate(data.ids.tolist()):
        folder = output / (f"{int(labels[place]):03d}" if labels is not None else "images")
        folder.mkdir(parents=True, exist_ok=True)
        array = data.pixels[place].permute(1, 2, 0).numpy()
        picture = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
        content = io.BytesIO()
        if jpeg is None:
            picture.save(content, "PNG")
        else:
            picture.save(content, "JPEG", quality=jpeg)
        path = folder / f"{key:07d}.{'png' if jpeg is None else 'jpg'}"
        path.write_bytes(content.getvalue())
        read = np.asarray(Image.open(content))
        decoded[place] = torch.from_numpy(read.copy()).view(*read.shape[:2], -1).permute(2, 0, 1)
        files[str(path.relative_to(output))] = key
    return decoded, files
