"""What importing loads, and what it must never load."""

import pkgutil
import subprocess
import sys

import howfar

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


def test_public_names_are_there_and_typed() -> None:
    assert 20 <= len(howfar.__all__) <= 30
    for name in howfar.__all__:
        assert getattr(howfar, name) is not None
