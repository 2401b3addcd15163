"""Finding, downloading and opening the files of the public data sets."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from howfar.errors import HowfarError, UsageError, require

LARGE, RATIO = 1 << 30, 100  # bytes, and unpacked ÷ packed size: an archive above both counts as a zip bomb


def default_root(name: str) -> Path:
    """Return the default folder of a data set: ``name`` in ``$HOWFAR_DATA`` or ``~/.cache/howfar``."""
    base = os.environ.get("HOWFAR_DATA")
    return Path(base).expanduser() / name if base else Path.home() / ".cache" / "howfar" / name


def find(root: Path | None, name: str, candidates: Iterable[str], *, download: bool) -> Path | None:
    """Return the first of ``candidates`` that exists below ``root`` (or the default folder), or ``root`` itself.

    Raises:
        UsageError: if ``root`` is given and does not exist, unless the data will be downloaded into it.
    """
    base = root if root is not None else default_root(name)
    if root is not None and not base.exists() and not download:
        raise UsageError(f"{base} does not exist. Give the folder or file of {name} with --data-root.")
    if base.is_file():
        return base
    return next((base / path for path in candidates if (base / path).exists()), None)


def fetch(url: str, checksum: str, folder: Path) -> Path:
    """Download ``url`` into ``folder`` unless it exists, and verify its checksum.

    An interrupted download resumes if the server supports it.

    Args:
        url: file to download.
        checksum: as published, e.g. ``"md5:c58f…"``.
        folder: destination; the file keeps its name in the URL.

    Raises:
        HowfarError: if the network fails or the checksum differs.
    """
    require("pooch", "download", "a download")
    import pooch
    import requests

    name = Path(urlsplit(url).path).name
    try:
        return Path(pooch.retrieve(url, known_hash=checksum, fname=name, path=folder, downloader=_resume))
    except ValueError:
        raise HowfarError(
            f"{url}: the checksum differs from the published one. Retry, or download it by hand."
        ) from None
    except (requests.RequestException, OSError) as error:
        raise HowfarError(
            f"could not download {url} ({error}). Run again to resume, or put the file into {folder}."
        ) from None


def check(path: Path, checksum: str) -> None:
    """Raise HowfarError unless the file has the published checksum.

    Args:
        path: of the file.
        checksum: as published, e.g. ``"md5:c58f…"``.
    """
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        if hashlib.file_digest(file, kind).hexdigest() != wanted:
            raise HowfarError(
                f"{path} is not the published file: its checksum differs. Delete it and download it again."
            )


def missing(name: str, root: Path | None, wanted: str) -> UsageError:
    """Return the error for a missing data set that is not to be downloaded."""
    place = root if root is not None else default_root(name)
    return UsageError(f"no {name} in {place}: {wanted} is missing. Add --download, or point --data-root at it.")


def tar_member(archive: Path, member: str) -> bytes:
    """Read one file from a tar archive without extracting to disk."""
    try:
        packed = archive.stat().st_size
        with tarfile.open(archive) as tar:
            for entry in tar:
                refuse_bomb(archive, packed, entry.offset_data + entry.size)
                file = tar.extractfile(entry) if entry.name == member and entry.isfile() else None
                if file is not None:
                    return file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise HowfarError(f"{archive} is not a readable archive ({error}). Delete and refetch it.") from None
    raise HowfarError(f"{archive} holds no {member}, so it is another archive. Delete and refetch it.")


def refuse_bomb(archive: Path, packed: int, unpacked: int) -> None:
    """Raise HowfarError for an archive that looks like a zip bomb."""
    if unpacked > LARGE and unpacked > RATIO * packed:
        raise HowfarError(
            f"{archive} unpacks from {packed >> 10} KiB to {unpacked >> 20} MiB, like a zip bomb. If it is none, "
            "unpack it by hand."
        )


def _resume(url: str, output: str, _: object) -> None:
    """Download to ``NAME.part``, which survives a broken connection, then rename it for pooch to verify."""
    import requests

    part = Path(output).parent / f"{Path(urlsplit(url).path).name}.part"
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(url, headers=headers, stream=True, timeout=60) as response:
        if response.status_code != requests.codes.requested_range_not_satisfiable:  # else the file is complete
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            with part.open("ab" if resumed else "wb") as file:
                for block in response.iter_content(1 << 14):
                    file.write(block)
    part.replace(output)
