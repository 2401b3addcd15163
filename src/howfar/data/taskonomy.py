"""Taskonomy's layout on disk: ``ROOT/<domain>/<building>/point_<P>_view_<V>_domain_<name>.png``.

Zamir et al., Taskonomy, CVPR 2018; Omnidata (Eftekhar et al., ICCV 2021) has the same layout. Splits are by building,
so that no location is in both training and test set.
"""

import csv
import hashlib
import logging
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from howfar import arrays
from howfar.data import files
from howfar.data.domains import DEPTHS, DOMAINS, MASK, decoded, surface_of
from howfar.data.rows import Rows
from howfar.data.tree import is_hidden
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.spec import LARGEST_SIDE, Joined

VERSION = 2  # 2: no values without a surface; normals point up and toward the camera
LOG = logging.getLogger(__name__)
NAME = re.compile(r"point_(\d+)_view_(\d+)_domain_\w+\.(?:png|npy)")
LISTED = 50_000  # files to list for an outline before the rest is estimated
FLAT = ""  # building of a root without this level


View = tuple[str, int, int]  # building, point, view


def taskonomy(
    root: Path,
    domains: Joined = (),
    size: Annotated[int, Field(ge=8, le=LARGEST_SIDE)] = 64,
    split: Path | None = None,
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    skip_broken: bool = False,
    flip: bool = True,
) -> Splits:
    """Taskonomy and Omnidata, as downloaded by their tools; targets have Taskonomy's names.

    Views that lack a requested domain are left out. Pixels with ``mask_valid`` 0 or depth 65535 have no surface, and
    every geometric domain is NaN there, whatever its own file holds. Decoded views are cached in a memory-mapped file
    in the data folder, and an interrupted run resumes there.

    Args:
        root: the folder that holds ``rgb`` and the other domains.
        domains: targets to read, joined by ``+``; empty takes all in the folder.
        size: side of the images in pixels, after a center crop to a square.
        split: CSV of buildings with columns id, train, val and test, as published; None splits the buildings by
            ``test_share``, or the points if there is only one building.
        test_share: share of buildings for testing if there is no ``split``.
        skip_broken: leave out views with a broken file and report their number, instead of stopping.
        flip: whether images may be mirrored in training.

    Raises:
        UsageError: if there are no views; HowfarError: for a broken file, which is named.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["taskonomy"]("taskonomy", domains=("normal",)).train  # doctest: +SKIP
    """
    wanted = _wanted(root, domains)
    found = views(root, wanted)
    if not found:
        raise UsageError(f"{root} has no view with all of {', '.join(('rgb', *wanted))}. Ask for fewer domains.")
    inside = _test_views(found, split, test_share)
    train = _read(root, [view for view in found if view not in inside], wanted, size, skip_broken)
    test = _read(root, [view for view in found if view in inside], wanted, size, skip_broken)
    return Splits(train, test, (), flip)


def counted(
    root: Path, domains: tuple[str, ...], size: int, split: Path | None, test_share: float, *, flip: bool
) -> tuple[Splits, int, int, bool]:
    """Return a few views, the numbers of training and test views, and whether they are estimated.

    Lists only some of the folders if there are many files.

    Raises:
        UsageError: if there are no views.
    """
    wanted = _wanted(root, domains)
    base = root / "rgb"
    buildings = sorted((entry.name for entry in os.scandir(base) if entry.is_dir()), key=_draw) or [FLAT]
    counts: dict[str, int] = {}
    few: Data | None = None
    listed = 0
    for name in buildings:
        tables = {domain: _in_folder(root / domain / name, name) for domain in ("rgb", *wanted)}
        shared = sorted(set.intersection(*(set(table) for table in tables.values())))
        counts[name], listed = len(shared), listed + sum(len(table) for table in tables.values())
        few = _few(tables, shared[:2], size) if few is None and shared else few
        if listed > LISTED and few is not None:
            break
    if few is None:
        raise UsageError(f"{root} has no view with all of {', '.join(('rgb', *wanted))}. Ask for fewer domains.")
    mean = sum(counts.values()) / len(counts)
    everywhere = {name: counts.get(name, round(mean)) for name in buildings}
    test = _test_count(everywhere, split, test_share)
    return Splits(few, few, (), flip), sum(everywhere.values()) - test, test, len(counts) < len(buildings)


def _test_count(counts: dict[str, int], split: Path | None, share: float) -> int:
    """Return the number of test views, chosen as in ``_test_views``, from the number of views per building."""
    if split is not None:
        flags = read_split(split)
        return sum(count for name, count in counts.items() if flags.get(name) == "test")
    shown = [name for name in sorted(counts, key=_draw) if counts[name]]
    if len(shown) > 1:
        return sum(counts[name] for name in shown[: max(round(share * len(shown)), 1)])
    return max(round(share * counts[shown[0]]), 1)


def _few(tables: dict[str, dict[View, Path]], chosen: list[View], size: int) -> Data:
    """Return the decoded views."""
    columns = {
        name: torch.stack([decoded(name, table[view], size) for view in chosen]) for name, table in tables.items()
    }
    return Data(columns.pop("rgb"), columns, torch.tensor([_identity(view) for view in chosen]))


def views(root: Path, domains: Iterable[str]) -> list[View]:
    """Return the views that have an image and all of these domains, sorted."""
    sets = [set(_files(root, domain)) for domain in ("rgb", *domains)]
    return sorted(set.intersection(*sets))


def _wanted(root: Path, domains: tuple[str, ...]) -> tuple[str, ...]:
    if not (root / "rgb").is_dir():
        raise UsageError(
            f"{root} has no folder rgb, so it does not have Taskonomy's layout. Give the folder that contains rgb."
        )
    here = tuple(name for name in DOMAINS if (root / name).is_dir())
    for name in domains:
        if name not in DOMAINS:
            raise UsageError(f"unknown domain '{name}'. Known: {', '.join(DOMAINS)}.")
        if name not in here:
            raise UsageError(f"{root} has no folder {name}. It has: {', '.join(here) or 'none'}.")
    if not (domains or here):
        raise UsageError(f"{root} has images but no known target. Known: {', '.join(DOMAINS)}.")
    return domains or here


def _files(root: Path, domain: str) -> dict[View, Path]:
    found: dict[View, Path] = {}
    base = root / domain
    below = sorted(folder for folder in base.iterdir() if folder.is_dir() and not is_hidden(folder.name))
    for folder, building in [(base, FLAT), *((folder, folder.name) for folder in below)]:
        found |= _in_folder(folder, building)
    return found


def _in_folder(folder: Path, building: str) -> dict[View, Path]:
    paths = folder.iterdir() if folder.is_dir() else ()
    matches = {path: NAME.fullmatch(path.name) for path in paths}
    return {(building, int(match[1]), int(match[2])): path for path, match in matches.items() if match}


def _test_views(found: list[View], split: Path | None, share: float) -> set[View]:
    buildings = sorted({building for building, _, _ in found})
    if split is not None:
        flags = read_split(split)
        unknown = [building for building in buildings if building not in flags]
        if unknown:
            raise UsageError(f"{split} does not list building '{unknown[0]}'. Use the split that belongs to the data.")
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
    """Return ``train``, ``val`` or ``test`` for every building of a published split, with any line endings.

    Raises:
        HowfarError: if the file is not such a list.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Give a CSV with columns id, train, val, test.") from None
    found = {}
    for row in rows:
        parts = [part for part in ("train", "val", "test") if (row.get(part) or "").strip() == "1"]
        if not row.get("id") or not parts:
            raise HowfarError(
                f"{path} lacks a column id, train, val or test, or a building is in no split. Correct it."
            )
        found[str(row["id"]).strip()] = parts[0]
    return found


def _read(root: Path, chosen: list[View], domains: tuple[str, ...], size: int, skip_broken: bool) -> Data:
    """Return views, memory-mapped from the cache, after reading missing ones into it."""
    tables = {name: _files(root, name) for name in ("rgb", *domains)}
    masks = {name: _files(root, name) for name in (MASK, *DEPTHS) if (root / name).is_dir()}
    stamps = {
        name: [_stamp(table[view]) if view in table else None for view in chosen]
        for name, table in {**masks, **tables}.items()
    }
    key = hashlib.sha256(arrays.canonical([VERSION, size, chosen, stamps]).encode()).hexdigest()[:20]
    cache = Rows(files.default_root("taskonomy") / key, len(chosen))
    faults: dict[int, str] = {}

    def fill(row: int) -> None:
        view = chosen[row]
        try:
            surface = surface_of(table[view] for table in masks.values() if view in table)
            values = {name: decoded(name, table[view], size, surface) for name, table in tables.items()}
            cache.write(row, values)
        except HowfarError as error:
            faults[row] = str(error)

    for rows in cache.missing():
        with ThreadPoolExecutor(arrays.cores()) as pool:
            list(pool.map(fill, rows))
        if faults and not skip_broken:
            raise HowfarError(f"{faults[min(faults)]} To leave out broken files, set skip_broken=true.")
        cache.mark(rows, faults)
        LOG.info("read %d of %d views of %s", int((cache.marks == 1).sum()), len(chosen), root.name)
    columns, good = cache.columns()
    if not len(good):
        raise HowfarError(f"{root}: all {len(chosen)} views are broken. Repair them.")
    if len(good) < len(chosen):
        LOG.warning("left out %d of %d views of %s with broken files", len(chosen) - len(good), len(chosen), root.name)
    pixels = columns.pop("rgb")
    data = Data(pixels, columns, torch.tensor([_identity(view) for view in chosen]))
    return data if len(good) == len(chosen) else data.take(good)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _draw(text: str) -> bytes:
    """Return a sort key that shuffles names in the same way on every machine."""
    return hashlib.sha256(text.encode()).digest()


def _identity(view: View) -> int:
    """Return the id of a view, which depends only on its name."""
    return int.from_bytes(_draw(arrays.canonical(list(view)))[:8], "little") >> 1
