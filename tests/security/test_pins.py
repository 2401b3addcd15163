"""What howfar is installed with: pinned, with hashes, and without versions that are known to be unsafe."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = "requirements/linux-cuda.lock"
LOCKED = ("report", "tasks", "photos", "download", "figures", "ray", "s3")
# First version without a hole that matters here: loaders of weights, decoders of images, whoever talks to the network.
SAFE = {
    "torch": ("2.6", "CVE-2025-32434: weights_only ran code"),
    "pillow": ("11.3", "CVE-2025-48379: buffer overflow"),
    "jinja2": ("3.1.6", "CVE-2025-27516: sandbox left"),
    "requests": ("2.32.4", "CVE-2024-47081: credentials leaked"),
    "urllib3": ("2.5", "CVE-2025-50181: redirects followed"),
    "certifi": ("2024.7.4", "CVE-2024-39689: distrusted roots"),
    "scikit-learn": ("1.5", "CVE-2024-5206: data leaked"),
    "joblib": ("1.2", "CVE-2022-21797: code run"),
    "ray": ("2.52", "CVE-2025-62593: code run through a browser"),
    "protobuf": ("4.25.8", "CVE-2025-4565: endless recursion"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: code run"),
    "setuptools": ("78.1.1", "CVE-2025-47273: files written elsewhere"),
    "tqdm": ("4.66.3", "CVE-2024-34062: code run"),
    "idna": ("3.7", "CVE-2024-3651: quadratic time"),
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    found = (re.match(r"([A-Za-z0-9_.-]+)==([^\s\\;]+)", line) for line in lines)
    return {canonical(match[1]): match[2] for match in found if match}


def declared(*extras: str) -> list[Requirement]:
    """Return what howfar with these extras asks for, and what the extras that they name ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    waiting = list(extras)
    while waiting:
        for line in project["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(line)
            if requirement.name == "howfar":
                waiting += requirement.extras
            else:
                found.append(requirement)
    return found


def test_all_that_is_tested_with_is_pinned() -> None:
    constraints = pins("constraints.txt")
    for requirement in declared("dev", "docs"):
        name = canonical(requirement.name)
        assert name in constraints, f"{name} has no pin"
        assert requirement.specifier.contains(constraints[name]), f"{name}'s pin contradicts pyproject.toml"


def test_the_lock_has_the_pins_and_a_hash_for_every_package() -> None:
    lock, constraints = pins(LOCK), pins("constraints.txt")
    for requirement in declared(*LOCKED):
        assert canonical(requirement.name) in lock
    assert {name: lock[name] for name in lock if name in constraints} == {
        name: constraints[name] for name in constraints if name in lock
    }
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / LOCK).read_text())
    bare = [block.splitlines()[0] for block in blocks if "==" in block and "--hash=sha256:" not in block]
    assert bare == []


@pytest.mark.parametrize("name", SAFE)
def test_no_version_with_a_known_hole_can_be_had(name: str) -> None:
    least, why = SAFE[name]
    for file in ("constraints.txt", LOCK):
        found = pins(file).get(name)
        assert found is None or Version(found) >= Version(least), f"{file}: {name} {found}, {why}"
    for requirement in declared("all", "cluster"):
        if canonical(requirement.name) == name:
            floor = max(Version(part.version) for part in requirement.specifier if part.operator == ">=")
            assert floor >= Version(least), f"pyproject.toml: {name}, {why}"
    try:
        here = version(name)
    except PackageNotFoundError:
        return
    assert Version(here) >= Version(least), f"installed: {name} {here}, {why}"
