"""Everything howfar reads and every command it has, with unexpected inputs: only its own error may be raised.

Two halves. Readers: files that were right until some bytes of them were changed, and texts, settings, JSON and folders
that Hypothesis draws. Commands: whole calls of the command line at tiny size, with every flag and setting, on
photographs, archives and stores that change between calls. What escapes is made small and kept in
``tests/security/corpus``. A killed campaign goes on where it stopped. Run: ``make campaign`` (``python
benchmarks/campaign.py``); ``--inputs 5000 --calls 200`` is a short version.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import campaign_commands
import campaign_readers
import torch
from campaign_tools import Counts


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="files and texts, over all readers")
    parser.add_argument("--calls", type=int, default=20_000, help="whole commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["readers", "commands"], default=None)
    parser.add_argument("--state", type=Path, default=Path("campaign"), help="folder of the counts")
    parser.add_argument("--episodes", default="", help="play these again, e.g. 10,16: what a fault was found in")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.state = options.state.resolve()
    options.state.mkdir(parents=True, exist_ok=True)
    bad = 0
    if options.episodes:
        numbers = [int(number) for number in options.episodes.split(",")]
        print("\n\n".join(faults := campaign_commands.again(numbers, options.seed)) or "no fault")
        sys.exit(1 if faults else 0)
    if options.only != "commands":
        counts = Counts.load(options.state / f"readers-{options.seed}.json")
        bad += campaign_readers.run(options.inputs, options.seed, counts, say)
        print(campaign_readers.table(counts))
        print(
            f"{sum(counts.done.values()):,} inputs, {counts.seconds:.0f} s, at most {counts.peak >> 20} MiB", flush=True
        )
    if options.only != "readers":
        counts = Counts.load(options.state / f"commands-{options.seed}.json")
        bad += campaign_commands.run(options.calls, options.seed, counts, say)
        print(campaign_commands.table(counts))
        seconds, words = counts.slowest
        print(f"{counts.done['calls']:,} calls, {counts.seconds:.0f} s, at most {counts.peak >> 20} MiB")
        print(f"the slowest took {seconds:.1f} s: {words}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
