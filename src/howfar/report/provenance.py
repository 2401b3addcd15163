"""Provenance of a page, and how to cite it."""

import datetime
import importlib.metadata
import json
from pathlib import Path

BIBTEX = """\
@inproceedings{ye2025howfar,
  title     = {How Far Are We from True Unlearnability?},
  author    = {Ye, Kai and Su, Liangcai and Qian, Chenxiong},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2025},
  url       = {https://openreview.net/forum?id=I4Lq2RJ0eJ}
}
@software{howfar,
  title   = {howfar: how far is this data from being truly unlearnable?},
  author  = {{The howfar authors}},
  version = {VERSION},
  year    = {2026},
  url     = {https://github.com/howfar/howfar}
}"""


def provenance() -> dict[str, str]:
    """Return version, commit (where it is known) and the date of the page."""
    found = {"howfar": version(), "commit": commit(), "page of": datetime.datetime.now(datetime.UTC).date().isoformat()}
    return {name: value for name, value in found.items() if value}


def bibtex() -> str:
    """Return the entries of the paper and of this version of the software."""
    return BIBTEX.replace("VERSION", version())


def version() -> str:
    """Return the installed version; ``unknown`` without metadata."""
    try:
        return importlib.metadata.version("howfar")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """Return the commit of a clone or of an installation from git, 12 digits; empty where there is none."""
    found = _of_clone(Path(__file__).parents[3] / ".git") or _of_installation()
    return found[:12]


def _of_clone(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text(encoding="utf-8").strip()
        lines = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
    except OSError:
        return ""


def _of_installation() -> str:
    try:
        text = importlib.metadata.distribution("howfar").read_text("direct_url.json") or "{}"
    except importlib.metadata.PackageNotFoundError:
        return ""
    return str(json.loads(text).get("vcs_info", {}).get("commit_id", ""))
