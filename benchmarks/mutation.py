"""Which changes of the arithmetic does no test notice? A sample of mutants from every file, tried by mutmut.

``[tool.mutmut]`` in ``pyproject.toml`` names the files. The same seed draws the same mutants from the same sources; a
mutant counts as killed if a test fails or runs far longer than before. It meets the fastest tests that reach its
function, ``--budget`` seconds of them, so slower tests may kill more than the table says. Verdicts are kept in
``mutants/``: a second run tries only survivors and what has none. Remove that folder after sources have changed.

Run: ``make mutation`` (``python benchmarks/mutation.py``); ``--only probe/trust.py --sample 1000`` tries all of a file.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

SOURCES = Path("mutants/src/howfar")
STATS = Path("mutants/mutmut-stats.json")
ONE = "howfar.score.drop.x_drop__mutmut_1"  # any: makes mutmut write all mutants and time all tests
KILLED, TIMEOUTS = {1, 3}, {24, 36, 152, 255, -24}  # exit codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=20, help="mutants a file, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds of tests a mutant, at most")
    parser.add_argument("--only", nargs="*", default=[""], help="files whose paths contain one of these: probe/ pgd.py")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not STATS.is_file():
        mutmut(options.workers, ONE)
    shorten(options.budget)
    drawn = sample(options.sample, options.seed, options.only)
    open_ones = [name for names in drawn.values() for name, code in names.items() if code not in KILLED | TIMEOUTS]
    if open_ones:
        mutmut(options.workers, *open_ones)
        drawn = sample(options.sample, options.seed, options.only)
    print_table(drawn)


def mutmut(workers: int, *names: str) -> None:
    """Try mutants; the order of tests, and with it what a timeout cuts off, is the same every time."""
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(workers), *names]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONHASHSEED": "0"})


def shorten(budget: float) -> None:
    """Leave every function the fastest of the tests that reach it: one at least, and ``budget`` seconds at most."""
    stats = json.loads(STATS.read_text())
    times, reached = stats["duration_by_test"], stats["tests_by_mangled_function_name"]
    for name, tests in reached.items():
        fastest, spent = sorted(tests, key=lambda test: times[test]), 0.0
        kept = fastest[:1]
        for test in fastest[1:]:
            spent += times[test]
            if spent > budget:
                break
            kept.append(test)
        reached[name] = kept
    STATS.write_text(json.dumps(stats))


def sample(most: int, seed: int, only: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """Return mutants and their verdicts, None where they were not tried, by file."""
    found = {}
    for path in sorted(SOURCES.rglob("*.meta")):
        file = path.relative_to(SOURCES).with_suffix("").as_posix()
        codes: dict[str, int | None] = json.loads(path.read_text())["exit_code_by_key"]
        if codes and any(part in file for part in only):
            names = random.Random(f"{seed} {file}").sample(sorted(codes), min(most, len(codes)))
            found[file] = {name: codes[name] for name in names}
    return found


def print_table(drawn: dict[str, dict[str, int | None]]) -> None:
    """Print a line for every file and every package, then what survived."""
    print("| file | tried | killed | timeouts among them | % |\n| - | - | - | - | - |")
    packages: dict[str, list[int | None]] = {}
    for file, codes in drawn.items():
        print(line(file, codes.values()))
        packages.setdefault(file.partition("/")[0] if "/" in file else "protect", []).extend(codes.values())
    for package, several in packages.items():
        print(line(f"**{package}**", several))
    print("\nSurvivors (`mutmut show NAME` shows what was changed):")
    for codes in drawn.values():
        print(*(name for name, code in codes.items() if code not in KILLED | TIMEOUTS), sep="\n")


def line(name: str, codes: Iterable[int | None]) -> str:
    """Return a line of the table."""
    counts = Counter(codes)
    timeouts = sum(counts[code] for code in TIMEOUTS)
    killed, tried = sum(counts[code] for code in KILLED) + timeouts, counts.total() - counts[None]
    return f"| {name} | {tried} | {killed} | {timeouts} | {100 * killed / max(tried, 1):.0f} |"


if __name__ == "__main__":
    main()
