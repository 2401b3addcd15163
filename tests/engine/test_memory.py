"""Workers keep freed memory: tensors that come and go cost no fresh pages."""

import subprocess
import sys

import pytest

from howfar.engine.memory import keep_freed

FAULTS = """
import resource, sys
import torch
from howfar.engine.memory import keep_freed
if sys.argv[1] == "keep":
    assert keep_freed()
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True).stdout)
        for how in ("keep", "return")
    }
    assert 4 * faults["keep"] < faults["return"], faults  # the first one of five may still need its pages


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not keep_freed()
