"""What the project survives, counted: mutated files and archives, kills, many runs. Takes half an hour; `make soak`.

python tests/soak.py                  everything
python tests/soak.py --part 0.1       a tenth of the mutations and kills
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import many_runs

TESTS = Path(__file__).parent
# How many times as many examples as in `make test`.
LONGER = {
    "test_bad_input.py": 100,
    "test_sources.py": 50,
    "test_archive.py": 50,
    "test_merging.py": 30,
    "test_kills.py": 10,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", type=float, default=1, help="of the mutations and kills (default: 1)")
    part = parser.parse_args().part
    counts, failed = Counter(), False
    for name, times in LONGER.items():
        started = time.monotonic()
        with tempfile.NamedTemporaryFile() as file:
            scale = str(max(1, round(part * times)))
            told = {**os.environ, "ABLATIONS_SOAK": scale, "ABLATIONS_SOAK_COUNTS": file.name}
            command = [sys.executable, "-m", "pytest", "-q", str(TESTS / name)]
            failed |= subprocess.run(command, env=told).returncode != 0
            for line in Path(file.name).read_text().splitlines():
                counts.update(json.loads(line))
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print("\n| survived | times |\n|:---|---:|")
    for what, count in counts.items():
        print(f"| {what} | {count:,} |")
    print(flush=True)
    many_runs.head()
    few, _, many = (many_runs.measured(runs, epochs=10) for runs in (1000, 4000, 10_000))
    short, long = (many_runs.measured(200, epochs) for epochs in (10, 1000))
    over = [
        *many_runs.beyond(many),
        *many_runs.growing(few, many, 10, many_runs.SHOWN),  # not faster than their number
        *many_runs.growing(short, long, 1.5, ["figures (s)", "report (s)"]),
    ]
    print("\nA TEST HAS FAILED, see above" if failed else "\nEvery test passed.")
    print("\n".join(over) or "Many runs, and long ones, cost no more than they are meant to.")
    return int(failed or bool(over))


if __name__ == "__main__":
    sys.exit(main())
