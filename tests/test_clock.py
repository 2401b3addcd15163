"""What a step costs is its own, whatever the process did before."""

from pathlib import Path

import numpy as np
import pytest
import torch

from howfar.store import clock
from howfar.store.clock import Clock, PeakMemory

LARGE = 2**28  # bytes, far above what measuring itself takes
CPU = torch.device("cpu")


def touch(size: int) -> None:
    """Take memory and free it again."""
    np.ones(size, dtype=np.uint8).sum()


@pytest.mark.skipif(not clock._reset_peak(), reason="this system does not set the peak back")
def test_a_small_step_after_a_large_one_is_small() -> None:
    first = Clock(CPU)
    touch(LARGE)
    large = first.stop()["step_peak_bytes"]
    second = Clock(CPU)
    small = second.stop()["step_peak_bytes"]
    third = Clock(CPU)
    touch(LARGE)
    assert small < large - LARGE / 2
    assert third.stop()["step_peak_bytes"] > small + LARGE / 2


def test_where_the_mark_stays_only_a_new_peak_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "CLEAR", tmp_path / "none" / "such")
    lifetime = iter([100, 100, 100, 170])
    monkeypatch.setattr(clock, "_lifetime_peak", lambda: next(lifetime))
    assert PeakMemory().peak() is None, "it is that of earlier work"
    assert PeakMemory().peak() == 170


def test_the_peak_of_a_gpu_is_set_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = [900]
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, 5))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    made = Clock(torch.device("cuda")).stop()
    assert made["step_peak_gpu_bytes"] == 5
    assert made["device"] == "a GPU"
