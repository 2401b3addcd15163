"""Seconds to draw rooms with all targets, on all cores. Run: ``python benchmarks/rooms_speed.py``."""

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from howfar import arrays
from howfar.data.rooms.load import drawn

LIMIT = 60  # seconds for 4,000 rooms of 64×64 on two cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    drawn(options.size, 0, range(8))  # imports
    start = time.perf_counter()
    drawn(options.size, 0, range(options.n))
    seconds = time.perf_counter() - start
    print(
        f"{options.n} rooms of {options.size}×{options.size} with all targets, {arrays.cores()} cores: {seconds:.1f} s "
        f"({1000 * seconds / options.n:.1f} ms each; wanted: {LIMIT} s for 4,000 on two cores)"
    )


if __name__ == "__main__":
    main()
