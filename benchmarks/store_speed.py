"""Ten thousand records: how long it takes to list them, to draw the leaderboard, and how large the page gets.

The victims of a real store are multiplied until there are enough; the copies differ in the width of their network.
Run: ``python benchmarks/store_speed.py --runs results/protectors.jsonl.xz``.
"""

import argparse
import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.progress import track

from howfar.report.render import outputs
from howfar.store import Record, Store, open_store
from howfar.tables import collect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("results/protectors.jsonl.xz"), help="store to multiply")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to put them; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kilobytes = fill(Store(folder), open_store(options.runs, reading=True), options.records)
        print(f"{options.records} records of {kilobytes:.1f} kB from {options.runs}")
        print("listed, no index yet", timed(lambda: list(Store(folder).records("victim"))))
        time.sleep(3)  # the index believes no file of the last two seconds
        list(Store(folder).records("victim"))
        print("listed", timed(lambda: list(Store(folder).records("victim"))))
        print("leaderboard, first time", timed(lambda: collect(Store(folder), brief=True)))
        print("leaderboard", timed(lambda: collect(Store(folder), brief=True)))
        page = collect(Store(folder))
        print("page written", timed(lambda: outputs(page)))
        print(f"page: {len(outputs(page)['report.html'].encode()) / 1e6:.1f} MB, {len(page.rows)} rows")


def fill(store: Store, source: Store, count: int) -> float:
    """Fill a store with copies of the finished victims of another one; returns the mean size of a record in kB."""
    victims = [record for record in source.records("victim") if record.status == "done"]
    if not victims:
        sys.exit(f"{source.place} holds no finished victim.")
    for number in track(range(count), "copying", transient=True):
        victim = victims[number % len(victims)]
        spec: dict[str, Any] = copy.deepcopy(dict(victim.spec))
        turn = number // len(victims)
        spec["model"] |= {"label": f"{spec['model']['label']} · {turn}", "width": 1000 + turn}
        store.save(Record("victim", store.key("victim", spec), spec, "done", dict(victim.result), victim.made))
    sizes = [path.stat().st_size for path in (store.root / "victim").glob("*/record.json")]
    return sum(sizes) / len(sizes) / 1000


def timed(work: Callable[[], object]) -> str:
    """Return how long something takes, in processor and wall seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return f"{time.process_time() - processor:.2f} s (wall {time.perf_counter() - wall:.2f} s)"


if __name__ == "__main__":
    main()
