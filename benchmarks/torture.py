"""What runs survive: kills at random moments, full and read-only disks, changed bits, rivals, jumping clocks.

Every fault is brought about for real, and everything is checked: each line of the table says how often it was tried and
what came of it; the command fails if a finished step is done twice, a byte differs or a wrong number is shown.
Run: ``make torture`` (``python benchmarks/torture.py``); ``--kills 10`` is a short version.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from howfar.errors import HowfarError
from howfar.store import Store, differences, upkeep
from howfar.store.records import SUM

GRID = [
    "bench", "--dataset", "digits", "--protectors", "random,lsp[eps=32/255],em[rounds=3]", "--models", "linear,lenet5",
    "--defenses", "none", "--seeds", "0-1", "--epochs", "4", "--limit-train", "200", "--limit-test", "100",
    "--set", "probe_images=20", "--workers", "2",
]  # fmt: skip
SMALL = [*GRID[:3], "--protectors", "random", "--models", "linear", *GRID[7:]]
ENOUGH = 600  # seconds that a run which nobody disturbs may take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=2000, help="bits changed, one at a time, and files cut short")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        whole = root / "whole"
        start = time.perf_counter()
        howfar(*GRID, runs=whole)
        longest = time.perf_counter() - start
        faults: dict[str, Callable[[], str]] = {
            "kill -9 at a random moment": lambda: killed(root, whole, options.kills, longest, dice),
            "two runs on one store": lambda: rivals(root, whole),
            "a bit changed, or the end cut off": lambda: flipped(root, whole, options.flips, dice),
            "disk full": lambda: full(root, whole),
            "read-only folder": lambda: read_only(root),
            "a clock a day ahead, then a day behind": lambda: clocks(root, whole),
        }
        print("| fault | outcome |\n| - | - |", flush=True)
        for fault, bring_about in faults.items():
            start = time.perf_counter()
            outcome = bring_about()
            print(f"| {fault} | {outcome} ({time.perf_counter() - start:.0f} s) |", flush=True)


def killed(root: Path, whole: Path, kills: int, longest: float, dice: random.Random) -> str:
    """Kill runs within the seconds that one takes, begin anew when one ends, and compare every finished store."""
    done, finished, runs = 0, 0, root / "killed"
    steps: dict[Path, tuple[int, int]] = {}
    while done < kills or not finished:
        with started(*GRID, runs=runs) as run:
            try:
                ended = run.wait(dice.uniform(0.0, longest)) == 0
            except subprocess.TimeoutExpired:
                ended = False
                run.kill()
                run.wait()
                done += 1
        now = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in runs.glob("*/*/record.json")}
        again = [path for path, stamp in steps.items() if now.get(path) != stamp]
        check(not again, f"finished steps were done again: {again}")
        steps = now
        if ended:
            same(runs, whole)
            finished += 1
            shutil.rmtree(runs)
            steps = {}
    return (
        f"{done} kills, {finished} runs finished in between: all stores as without kills, no finished step done twice"
    )


def rivals(root: Path, whole: Path) -> str:
    """Run the same grid twice at once on one store."""
    runs = root / "rivals"
    with started(*GRID, runs=runs) as one, started(*GRID, runs=runs) as other:
        codes = [one.wait(ENOUGH), other.wait(ENOUGH)]
    check(codes == [0, 0], f"exit codes {codes}")
    same(runs, whole)
    check(not Store(runs).claims(), "a lease is left")
    return "both end well, the store as from one run"


def flipped(root: Path, whole: Path, flips: int, dice: random.Random) -> str:
    """Change single bits of records and arrays, or cut them short, and read them."""
    runs = root / "flipped"
    shutil.copytree(whole, runs)
    store, found = Store(runs), 0
    files = sorted(path for path in runs.glob("*/*/*") if path.parent.parent.name != "bench")
    for _ in range(flips):
        path = dice.choice(files)
        kept, damaged = path.read_bytes(), bytearray(path.read_bytes())
        place = dice.randrange(len(damaged))
        if dice.random() < 0.25:
            damaged = damaged[:place]
        else:
            damaged[place] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        step, key = path.parent.parent.name, path.parent.name
        try:
            record = store.find(step, key)
            if path.suffix == ".safetensors":
                store.arrays(step, key)
            check(record is not None and json.loads(kept) == record.__dict__, f"{path} was believed")
        except HowfarError:
            found += 1
        path.write_bytes(kept)
    check(found == flips, f"{found} of {flips} were found")
    return f"{flips} of {flips} found and named"


def full(root: Path, whole: Path) -> str:
    """Work on a file system that is too small until no step fits, then make room and go on."""
    runs = root / "full"
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    told = 0
    with mounted(runs, f"size={size // 3}"):
        for _ in range(2):
            run = howfar(*GRID, runs=runs, codes=(1, 3))
            check("Free some space" in run.stderr, run.stderr)
            check("Traceback" not in run.stderr, run.stderr)
            told += 1
        left = [finding for finding in upkeep.check(Store(runs)) if finding.harm or finding.path.suffix == ".tmp"]
        check(not left, f"something half-written is left: {left}")
        subprocess.run(["mount", "-o", f"remount,size={4 * size}", str(runs)], check=True)
        howfar(*GRID, runs=runs)
        same(runs, whole)
    return f"said {told} times what and the cure, nothing half-written; with room the run ends as without"


def read_only(root: Path) -> str:
    """Begin in a folder that cannot be written."""
    runs = root / "read-only"
    with mounted(runs, "ro"):
        run = howfar(*SMALL, runs=runs, codes=(1,))
        check("--runs" in run.stderr and "Traceback" not in run.stderr, run.stderr)
    return "refused before any work, with the cure"


def clocks(root: Path, whole: Path) -> str:
    """Start a second run whose clock is wrong while the first one works: it must leave its steps alone."""
    runs = root / "clocks"
    for jump in (86400, -86400):
        wrong = f"import time; t = time.time; time.time = lambda: t() + {jump}; from howfar.cli import main; main()"
        with started(*GRID, runs=runs) as right:
            time.sleep(5)
            subprocess.run([sys.executable, "-c", wrong, *GRID, "--runs", str(runs)], check=True, capture_output=True)
            check(right.wait(ENOUGH) == 0, "the first run failed")
        same(runs, whole)
        shutil.rmtree(runs)
    return "both runs end well, the store as from one run"


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


def howfar(*arguments: str, runs: Path, codes: tuple[int, ...] = (0,)) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, which must be one of these exit codes."""
    command = [sys.executable, "-m", "howfar", *arguments, "--runs", str(runs)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=ENOUGH, check=False)
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


if __name__ == "__main__":
    main()
