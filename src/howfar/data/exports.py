"""``Data`` -> data sets of torch and Hugging Face, folders of images, WebDataset shards."""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from howfar import arrays
from howfar.data.types import Data
from howfar.errors import HowfarError, UsageError, require, unknown
from howfar.unfinished import atomic_write


@dataclass(frozen=True, eq=False, repr=False)
class Images(Dataset[tuple[Any, Any]]):
    """Pairs of image and target of a ``Data``; see ``Data.to_torch``.

    Attributes:
        data: the images.
        target: name of the target.
        transform: applied to each image.
    """

    data: Data
    target: str
    transform: Callable[[Tensor], Any] | None = None

    @classmethod
    def of(cls, data: Data, target: str | None, transform: Callable[[Tensor], Any] | None) -> "Images":
        """Return the pairs with the named target; arguments and errors as of ``Data.to_torch``."""
        name = target or data.classes or next(iter(data.targets), "")
        if name not in data.targets or (target is None and data.classes is None and len(data.targets) > 1):
            raise unknown("target", target or "", data.targets)
        return cls(data, name, transform)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one image and its target."""
        image = self.data.pixels[index].float() / 255
        target = self.data.targets[self.target][index]
        is_class = not target.ndim and not target.is_floating_point()
        return self.transform(image) if self.transform else image, int(target) if is_class else target

    def __repr__(self) -> str:
        """Return the data and the target."""
        return f"Images({self.data!r}, target {self.target})"


def to_huggingface(data: Data, classes: Sequence[str] = ()) -> Any:
    """Return the images as a data set of Hugging Face; see ``Data.to_huggingface``."""
    require("datasets", "huggingface", "a data set of Hugging Face")
    import datasets

    columns: dict[str, Any] = {
        "image": [{"bytes": png(pixels), "path": None} for pixels in data.pixels], "id": data.ids.tolist()
    }  # fmt: skip
    kinds = {"image": datasets.Image(), "id": datasets.Value("int64")}
    for name, values in data.targets.items():
        columns[name] = values.tolist() if values.ndim == 1 else list(values.numpy())
        if values.ndim == 1 and not values.is_floating_point():
            kinds[name] = datasets.ClassLabel(names=_names(values, classes if name == data.classes else ()))
    found = datasets.Dataset.from_dict(columns)
    return found.cast(datasets.Features({**found.features, **kinds}))


def to_folder(data: Data, path: str | Path, classes: Sequence[str] = ()) -> None:
    """Write a folder of images; see ``Data.to_folder``."""
    labels = data.targets[data.classes] if data.classes else None
    names = _names(labels, classes) if labels is not None else []
    with _empty_folder(path) as folder:
        for place, key in enumerate(data.ids.tolist()):
            own = folder / names[int(labels[place])] if labels is not None else folder
            own.mkdir(exist_ok=True)
            (own / f"{key:07d}.png").write_bytes(png(data.pixels[place]))


def to_webdataset(data: Data, path: str | Path, shard: int) -> list[Path]:
    """Write shards of a WebDataset; see ``Data.to_webdataset``."""
    if shard < 1:
        raise UsageError(f"shard = {shard} is no number of images. Use 1 or more.")
    names = []
    with _empty_folder(path) as folder:
        for number, part in enumerate(arrays.chunks(len(data), shard)):
            names.append(f"{number:05d}.tar")
            with tarfile.open(folder / names[-1], "w") as tar:
                for place in range(part.start, part.stop):
                    for name, content in _members(data, place):
                        about = tarfile.TarInfo(name)
                        about.size = len(content)
                        tar.addfile(about, io.BytesIO(content))
    return [Path(path) / name for name in names]


def _members(data: Data, place: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of one image."""
    key = f"{int(data.ids[place]):07d}"
    yield f"{key}.png", png(data.pixels[place])
    for name, values in data.targets.items():
        if name == data.classes:
            yield f"{key}.cls", str(int(values[place])).encode()
            continue
        content = io.BytesIO()
        np.save(content, values[place].numpy(), allow_pickle=False)
        yield f"{key}.{name}.npy", content.getvalue()


def png(pixels: Tensor) -> bytes:
    """Return an image, (channels, height, width), as a PNG file."""
    array = pixels.permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(content, "PNG")
    return content.getvalue()


def _names(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """Return a name for every class."""
    count = int(labels.max()) + 1 if len(labels) else 0
    if classes and len(classes) < count:
        raise UsageError(f"{len(classes)} names for {count} classes. Name all of them.")
    for name in classes:
        if "/" in str(name) or str(name).startswith("."):
            raise UsageError(f"'{name}' cannot be the name of a folder. Rename the class.")
    width = len(str(max(count - 1, 0)))  # so that the order of the names is that of the classes
    return [str(name) for name in classes] or [f"{number:0{width}d}" for number in range(count)]


@contextmanager
def _empty_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when all is written.

    Raises:
        UsageError: if there are files in ``path`` already; HowfarError: if it cannot be written.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} exists and is not an empty folder. Choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            draft.mkdir()
            yield draft
            if path.is_dir():
                path.rmdir()
    except OSError as error:
        raise HowfarError(f"could not write {path} ({error}). Free some space or choose another folder.") from None
