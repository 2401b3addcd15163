"""Taskonomy's layout on disk: ``ROOT/<domain>/<building>/point_<P>_view_<V>_domain_<name>.png``, and no other order.

Zamir et al., Taskonomy, CVPR 2018; Omnidata (Eftekhar et al., ICCV 2021) keeps the layout. Buildings are the unit of
the splits, so that no place is learned and tested.
"""

import csv
import hashlib
import logging
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BeforeValidator, Field, PlainSerializer
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import files
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.spec import split_list

VERSION = 1
LOG = logging.getLogger(__name__)
METRES = 1 / 512  # of a step of depth
NO_DEPTH = 65535
NAME = re.compile(r"point_(\d+)_view_(\d+)_domain_\w+\.(?:png|npy)")
PIECE = 256  # views that are read between two marks
FLAT = ""  # building of a root that has no such level

Pixel = NDArray[Any]


def _names(value: object) -> object:
    return tuple(split_list(value, at="+")) if isinstance(value, str) else value


Domains = Annotated[tuple[str, ...], BeforeValidator(_names), PlainSerializer("+".join)]


@dataclass(frozen=True)
class Domain:
    """How one kind of target lies on disk.

    Attributes:
        decode: values as read, (height, width) or (height, width, 3), or a vector -> the target, channels first.
        depth: bits of a pixel: 16, or 8.
        channels: 3, or 1 where only the first of them counts.
        smooth: whether places between two pixels may be averaged when the size changes.
    """

    decode: Callable[[Pixel], Tensor]
    depth: int = 8
    channels: int = 1
    smooth: bool = False

    def fits(self, values: Pixel) -> bool:
        """Return whether an image can be one of these."""
        wide = values.dtype in (np.uint16, np.int32)
        return wide == (self.depth == 16) and (
            values.ndim == 3 and values.shape[2] >= 3 if self.channels == 3 else True
        )


def _depth(values: Pixel) -> Tensor:
    metres = torch.from_numpy(values.astype(np.float32)) * METRES
    metres[torch.from_numpy(values >= NO_DEPTH)] = float("nan")
    metres[metres <= 0] = float("nan")
    return metres.half()[None]


def _normal(values: Pixel) -> Tensor:
    vectors = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1) * (2 / 255) - 1
    vectors[:, torch.from_numpy((values == 128).all(-1))] = float("nan")
    return vectors.half()


def _response(values: Pixel) -> Tensor:
    return torch.from_numpy(values.astype(np.float32) / 65535).half()[None]


def _first_channel(values: Pixel) -> Tensor:
    gray = values[..., 0] if values.ndim == 3 else values
    return torch.from_numpy(gray.astype(np.float32) / 255).half()[None]


def _classes(values: Pixel) -> Tensor:
    """0 is uncertain and becomes void; the others count from 0."""
    return torch.from_numpy(np.where(values == 0, arrays.VOID, values - 1).astype(np.uint8))


def _curvature(values: Pixel) -> Tensor:
    return (torch.from_numpy(values[..., :2].astype(np.float32)).permute(2, 0, 1) / 127 - 1).half()


def _scene(values: Pixel) -> Tensor:
    return torch.tensor(int(values.argmax()))


def _objects(values: Pixel) -> Tensor:
    """ImageNet's logits become probabilities."""
    return torch.from_numpy(values.astype(np.float32)).softmax(0)


DOMAINS: dict[str, Domain] = {
    "depth_euclidean": Domain(_depth, 16),
    "depth_zbuffer": Domain(_depth, 16),
    "normal": Domain(_normal, channels=3),
    "principal_curvature": Domain(_curvature, channels=3),
    "reshading": Domain(_first_channel, smooth=True),
    "edge_texture": Domain(_response, 16, smooth=True),
    "edge_occlusion": Domain(_response, 16, smooth=True),
    "keypoints2d": Domain(_response, 16, smooth=True),
    "keypoints3d": Domain(_response, 16, smooth=True),
    "segment_unsup2d": Domain(_first_channel),
    "segment_unsup25d": Domain(_first_channel),
    "segment_semantic": Domain(_classes),
    "class_scene": Domain(_scene),
    "class_object": Domain(_objects),
}
View = tuple[str, int, int]  # building, point, view


def taskonomy(
    root: Path,
    domains: Domains = (),
    size: Annotated[int, Field(ge=8)] = 64,
    split: Path | None = None,
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    skip_broken: bool = False,
    flip: bool = True,
) -> Splits:
    """Taskonomy and Omnidata, as their tools lay them out; targets under Taskonomy's names.

    Views that lack one of the wanted domains are left out. What was read is kept beside the data sets' cache, memory-
    mapped, and an interrupted reading goes on where it stopped.

    Args:
        root: the folder that holds ``rgb`` and the other domains.
        domains: targets to read, joined by ``+``; none takes all that the folder has.
        size: side of the images in pixels; they are made square by cutting the longer side.
        split: CSV of buildings with columns id, train, val and test, as published; None splits the buildings by
            ``test_share``, or the points where there is one building.
        test_share: share of buildings for testing where nobody says which.
        skip_broken: leave out views with a broken or missing file, and say how many, instead of stopping.
        flip: whether learners may mirror the images.

    Raises:
        UsageError: if nothing is there; HowfarError: for a broken file, which is named.
    """
    wanted = _wanted(root, domains)
    found = views(root, wanted)
    if not found:
        raise UsageError(f"{root} has no view with all of {', '.join(('rgb', *wanted))}. Ask for fewer domains.")
    inside = _test_views(found, split, test_share)
    train = _read(root, [view for view in found if view not in inside], wanted, size, skip_broken)
    test = _read(root, [view for view in found if view in inside], wanted, size, skip_broken)
    return Splits(train, test, (), flip)


def views(root: Path, domains: Iterable[str]) -> list[View]:
    """Return the views that have an image and all of these domains, sorted."""
    sets = [set(_files(root, domain)) for domain in ("rgb", *domains)]
    return sorted(set.intersection(*sets))


def _wanted(root: Path, domains: tuple[str, ...]) -> tuple[str, ...]:
    if not (root / "rgb").is_dir():
        raise UsageError(f"{root} has no folder rgb, so it is not laid out like Taskonomy. Give the folder above rgb.")
    here = tuple(name for name in DOMAINS if (root / name).is_dir())
    for name in domains:
        if name not in DOMAINS:
            raise UsageError(f"unknown domain '{name}'. Known: {', '.join(DOMAINS)}.")
        if name not in here:
            raise UsageError(f"{root} has no folder {name}. It has: {', '.join(here) or 'none'}.")
    if not (domains or here):
        raise UsageError(f"{root} has images but no target that is known: {', '.join(DOMAINS)}.")
    return domains or here


def _files(root: Path, domain: str) -> dict[View, Path]:
    found: dict[View, Path] = {}
    base = root / domain
    for folder, building in [(base, FLAT), *((f, f.name) for f in sorted(base.iterdir()) if f.is_dir())]:
        for path in folder.iterdir():
            if match := NAME.fullmatch(path.name):
                found[building, int(match[1]), int(match[2])] = path
    return found


def _test_views(found: list[View], split: Path | None, share: float) -> set[View]:
    buildings = sorted({building for building, _, _ in found})
    if split is not None:
        flags = read_split(split)
        unknown = [building for building in buildings if building not in flags]
        if unknown:
            raise UsageError(
                f"{split} says nothing of building '{unknown[0]}'. Take the list that belongs to the data."
            )
        chosen = {view for view in found if flags[view[0]] == "test"}
    elif len(buildings) > 1:
        last = set(sorted(buildings, key=_draw)[: max(round(share * len(buildings)), 1)])
        chosen = {view for view in found if view[0] in last}
    else:
        points = sorted({point for _, point, _ in found}, key=lambda point: _draw(str(point)))
        last_points = set(points[: max(round(share * len(points)), 1)])
        chosen = {view for view in found if view[1] in last_points}
    if not chosen or len(chosen) == len(found):
        raise UsageError("one of training and test set would be empty. Give more buildings, or another --split.")
    return chosen


def read_split(path: Path) -> dict[str, str]:
    """Return ``train``, ``val`` or ``test`` for every building of a published list, whatever its line ends.

    Raises:
        HowfarError: if the file is no such list.
    """
    try:
        with path.open(encoding="utf-8", newline=None) as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Give a CSV with columns id, train, val, test.") from None
    found = {}
    for row in rows:
        parts = [part for part in ("train", "val", "test") if (row.get(part) or "").strip() == "1"]
        if not row.get("id") or not parts:
            raise HowfarError(f"{path} lacks a column id, train, val or test, or a building has no part. Mend it.")
        found[str(row["id"]).strip()] = parts[0]
    return found


def _read(root: Path, chosen: list[View], domains: tuple[str, ...], size: int, skip_broken: bool) -> Data:
    """Return views, memory-mapped from the cache; what it lacks is read into it first."""
    tables = {name: _files(root, name) for name in ("rgb", *domains)}
    stamps = {name: [_stamp(table[view]) for view in chosen] for name, table in tables.items()}
    key = hashlib.sha256(arrays.canonical([VERSION, size, chosen, stamps]).encode()).hexdigest()[:20]
    cache = _Cache(files.default_root("taskonomy") / key, len(chosen))
    faults: dict[int, str] = {}

    def fill(row: int) -> None:
        try:
            values = {name: _decoded(name, table[chosen[row]], size) for name, table in tables.items()}
            cache.write(row, values)
        except HowfarError as error:
            faults[row] = str(error)

    for rows in cache.missing():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, rows))
        if faults and not skip_broken:
            raise HowfarError(f"{faults[min(faults)]} Repair it, or leave it out with skip_broken=true.")
        cache.mark(rows, faults)
        LOG.info("read %d of %d views of %s", int((cache.marks == 1).sum()), len(chosen), root.name)
    columns, good = cache.columns()
    if not len(good):
        raise HowfarError(f"{root}: all {len(chosen)} views are broken. Repair them.")
    if len(good) < len(chosen):
        LOG.warning("left out %d of %d views of %s, which are broken", len(chosen) - len(good), len(chosen), root.name)
    pixels = columns.pop("rgb")
    data = Data(pixels, columns, torch.tensor([_identity(view) for view in chosen]))
    return data if len(good) == len(chosen) else data.take(good)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _draw(text: str) -> bytes:
    """Return what orders names as if by chance, the same on every machine."""
    return hashlib.sha256(text.encode()).digest()


def _identity(view: View) -> int:
    """Return the id of a view, which depends on its name alone."""
    return int.from_bytes(_draw(arrays.canonical(list(view)))[:8], "little") >> 1


def _decoded(name: str, path: Path, size: int) -> Tensor:
    """Return one file at the wanted size, as its domain says."""
    domain = DOMAINS.get(name)
    try:
        if path.suffix == ".npy":
            vector: Pixel = np.load(path, allow_pickle=False)
            if vector.ndim != 1 or not np.issubdtype(vector.dtype, np.floating):
                raise HowfarError(f"{path} holds no vector of numbers.")
            return (domain or DOMAINS["class_scene"]).decode(vector)
        with Image.open(path) as raw:
            image = raw.convert("RGB") if name == "rgb" else raw
            image.load()
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            square = image.crop((left, top, left + side, top + side))
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise HowfarError(f"{path} cannot be read ({error}).") from None
    if name == "rgb":
        shrunk = square.resize((size, size), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(shrunk, np.uint8).transpose(2, 0, 1).copy())
    assert domain is not None  # noqa: S101 - `_wanted` has checked
    values: Pixel = np.asarray(square)
    if not domain.fits(values):
        raise HowfarError(f"{path} is no {name}: its pixels are {values.dtype} of shape {values.shape}.")
    return _shrunk(domain.decode(values), size, smooth=domain.smooth)


def _shrunk(values: Tensor, size: int, *, smooth: bool) -> Tensor:
    """Return a map at another size: averaged, or its nearest pixel where a mean of two answers is none."""
    one = values[None, None] if values.ndim == 2 else values[None]
    if smooth and size < values.shape[-1]:
        small = functional.adaptive_avg_pool2d(one.float(), size).to(values.dtype)
    else:
        small = functional.interpolate(one.float(), (size, size), mode="nearest-exact").to(values.dtype)
    return small[0, 0] if values.ndim == 2 else small[0]


class _Cache:
    """One memory-mapped array a column, and a mark for every row: 0 to do, 1 there, 2 broken.

    Args:
        folder: of this selection of views.
        count: number of rows.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.marks = self._open("marks", (count,), np.dtype(np.uint8))
        except OSError as error:
            raise HowfarError(f"cannot write to {folder} ({error.strerror}). Set HOWFAR_DATA elsewhere.") from None
        self.lock = threading.Lock()
        self.open: dict[str, NDArray[Any]] = {}

    def missing(self) -> Iterator[list[int]]:
        """Yield rows to do, some at a time; broken ones are tried anew."""
        todo = np.flatnonzero(self.marks != 1).tolist()
        for part in arrays.chunks(len(todo), PIECE):
            yield todo[part]

    def write(self, row: int, values: Mapping[str, Tensor]) -> None:
        """Keep one row."""
        for name, value in values.items():
            array = value.numpy()
            with self.lock:
                if name not in self.open:
                    self.open[name] = self._open(name, (self.count, *array.shape), array.dtype)
            if self.open[name].shape[1:] != array.shape:
                raise HowfarError(f"a file of {name} has another length than the others.")
            self.open[name][row] = array

    def mark(self, rows: Iterable[int], faults: Mapping[int, str]) -> None:
        """Note, once they are on disk, which rows are there."""
        for array in self.open.values():
            array.flush()  # type: ignore[attr-defined]
        for row in rows:
            self.marks[row] = 2 if row in faults else 1
        self.marks.flush()

    def columns(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return all columns, and the rows that are not broken."""
        found = {
            path.stem: torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
            for path in sorted(self.folder.glob("*.npy"))
            if path.stem != "marks"
        }
        return found, torch.from_numpy(np.flatnonzero(self.marks == 1))

    def _open(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        path = self.folder / f"{name}.npy"
        if path.is_file():
            return np.load(path, mmap_mode="r+", allow_pickle=False)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        np.lib.format.open_memmap(draft, mode="w+", dtype=dtype, shape=shape).flush()
        draft.replace(path)
        return np.load(path, mmap_mode="r+", allow_pickle=False)
