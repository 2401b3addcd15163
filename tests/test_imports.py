"""What importing loads, and what it must never load."""

import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import howfar

ROOT = Path(__file__).parents[1]

CHECK = """
import sys, socket
def refuse(*_, **__): raise AssertionError("the network was touched")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
for name in {names!r}:
    __import__(name)
print([name for name in ("torchvision", "timm", "lpips") if name in sys.modules])
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_module_needs_torchvision_or_the_network() -> None:
    names = [m.name for m in pkgutil.walk_packages(howfar.__path__, "howfar.") if not m.name.endswith("__main__")]
    assert len(names) > 40
    assert run(CHECK.format(names=names)) == "[]"


def test_torch_loads_only_when_work_starts() -> None:
    heavy = "print([n for n in ('torch', 'numpy', 'scipy', 'pydantic', 'plotly') if n in __import__('sys').modules])"
    assert run(f"import howfar; {heavy}") == "[]"
    assert run(f"import howfar.cli; {heavy}") == "[]"


def test_public_names_are_there() -> None:
    assert 20 <= len(howfar.__all__) <= 38
    for name in howfar.__all__:
        assert getattr(howfar, name) is not None


def entries() -> list[tuple[str, Any]]:
    """Return every public callable: functions, the methods of public classes, and what public tables hold."""
    found: list[tuple[str, Any]] = []
    for name in howfar.__all__:
        value = getattr(howfar, name)
        held = value.items() if isinstance(value, dict) else [("", value)]
        for key, one in held:
            label = f"{name}[{key}]" if key else name
            if inspect.isclass(one):
                methods = inspect.getmembers(one, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
                own = [(n, m) for n, m in methods if m.__module__.startswith("howfar") and not n.startswith("_")]
                found += [(f"{label}.{n}", m) for n, m in own]
            built = not (inspect.isclass(one) and (issubclass(one, Exception) or getattr(one, "_is_protocol", False)))
            if callable(one) and built:
                found.append((label, one))
    return found


@pytest.mark.parametrize(("name", "entry"), entries())
def test_every_public_parameter_has_a_type(name: str, entry: Any) -> None:
    signature = inspect.signature(entry)
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")]
    assert not bare, f"{name}: {', '.join(bare)}"
    if not inspect.isclass(entry):
        assert signature.return_annotation is not signature.empty, f"{name} does not say what it returns"


def test_a_type_checker_knows_every_public_name(tmp_path: Path) -> None:
    """What users see: the package is marked as typed, and no public name is ``Any`` to mypy."""
    package = Path(howfar.__file__).parent
    assert (package / "py.typed").is_file()
    code = "import howfar\n" + "".join(f"reveal_type(howfar.{name})\n" for name in howfar.__all__)
    user = tmp_path / "user.py"
    user.write_text(code + "howfar.evaluate(1, 2, 3)\n")
    # With the settings and in the folder of `make check`, whose cache spares a minute.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(user)],
        cwd=ROOT, env={**os.environ, "MYPYPATH": str(package.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if "user.py:" in line]
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in lines if "Revealed type" in line]
    assert len(revealed) == len(howfar.__all__), done.stdout + done.stderr
    assert "Any" not in revealed
    errors = [line for line in lines if " error: " in line]
    assert len(errors) == 3, done.stdout
    assert all("evaluate" in line and "incompatible type" in line for line in errors)
