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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from torture_machines import network_cut, out_of_memory, plugins
from torture_tools import ENOUGH, GRID, SMALL, check, howfar, mounted, same, started

from howfar.errors import HowfarError
from howfar.store import Store, upkeep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=2000, help="bits changed, one at a time, and files cut short")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults whose names contain this")
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
            "plug-ins that raise, hang and diverge": lambda: plugins(root, whole),
            "workers killed for lack of memory": lambda: out_of_memory(root, whole),
            "the network between two Ray nodes cut": lambda: network_cut(root, whole),
        }
        print("| fault | outcome |\n| - | - |", flush=True)
        for fault, bring_about in faults.items():
            if options.only not in fault:
                continue
            start = time.perf_counter()
            outcome = bring_about()
            print(f"| {fault} | {outcome} ({time.perf_counter() - start:.0f} s) |", flush=True)


def killed(root: Path, whole: Path, kills: int, longest: float, dice: random.Random) -> str:
    """Kill runs within the seconds that one takes, start again when one ends, and compare every finished store."""
    done, finished, runs = 0, 0, root / "killed"
    steps: dict[Path, tuple[int, int]] = {}
    while done < kills or not finished:
        with started(*GRID, runs=runs) as run:
            start = time.perf_counter()
            try:
                code = run.wait(dice.uniform(0.0, longest))
                check(code == 0, f"a run ended with exit code {code}")
                ended, longest = True, min(longest, time.perf_counter() - start + 1.0)  # later kills, not idle ends
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
    return f"said {told} times what and the fix, nothing half-written; with room the run ends as without"


def read_only(root: Path) -> str:
    """Begin in a folder that cannot be written."""
    runs = root / "read-only"
    with mounted(runs, "ro"):
        run = howfar(*SMALL, runs=runs, codes=(1,))
        check("--runs" in run.stderr and "Traceback" not in run.stderr, run.stderr)
    return "refused before any work, with the fix"


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


if __name__ == "__main__":
    main()
