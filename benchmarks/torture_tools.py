"""What the tortures share: the grid they disturb, and how runs are started and compared."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from howfar.store import Store, differences
from howfar.store.record import SUM

GRID = [
    "bench", "--dataset", "digits", "--protectors", "random,lsp[eps=32/255],em[rounds=3]", "--models", "linear,lenet5",
    "--defenses", "none", "--seeds", "0-1", "--epochs", "4", "--limit-train", "200", "--limit-test", "100",
    "--set", "probe_images=20", "--workers", "2",
]  # fmt: skip
SMALL = [*GRID[:3], "--protectors", "random", "--models", "linear", *GRID[7:]]
ENOUGH = 600  # seconds that a run which nobody disturbs may take


@contextmanager
def started(*arguments: str, runs: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a command; it is gone in the end."""
    command = [sys.executable, "-m", "howfar", *arguments, "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            yield run
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)


def howfar(
    *arguments: str, runs: Path, codes: tuple[int, ...] = (0,), before: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """Run a command to its end, which must be one of these exit codes.

    Args:
        arguments: of howfar.
        runs: folder of the store.
        codes: what it may end with.
        before: a command that runs it, such as ``ip netns exec NAME``.
        variables: of the environment, besides those there are.
    """
    command = [*before, sys.executable, "-m", "howfar", *arguments, "--runs", str(runs)]
    surroundings = {**os.environ, **(variables or {})}
    run = subprocess.run(command, capture_output=True, text=True, timeout=ENOUGH, check=False, env=surroundings)
    check(run.returncode in codes, f"exit code {run.returncode}: {run.stderr}")
    return run


@contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    """Give a file system in memory of its own."""
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("file systems cannot be mounted here: run as root, or leave this out") from None
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def same(runs: Path, whole: Path) -> None:
    """Fail unless two stores hold the same results and arrays."""
    one, other = Store(runs), Store(whole)
    for step in ("protect", "victim"):
        apart = list(differences(one, other, step))
        check(not apart, f"{runs} and {whole} differ in {step}: {apart}")
        sums = [{record.key: record.made.get(SUM) for record in store.records(step)} for store in (one, other)]
        check(sums[0] == sums[1], f"{runs} and {whole} differ in arrays of {step}")


def check(holds: bool, otherwise: str) -> None:
    """End the torture if something does not hold."""
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")
