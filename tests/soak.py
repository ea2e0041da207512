"""What the project survives, counted: mutated files and archives, kills, many runs. Takes minutes; `make soak`.

python tests/soak.py                 everything
python tests/soak.py --times 5       a quarter of it
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
MUTATIONS = ("test_bad_input.py", "test_sources.py", "test_archive.py", "test_merging.py")
KILLS = ("test_kills.py",)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--times", type=int, default=20, help="as many examples as in the tests, so many times (default: 20)"
    )
    times = parser.parse_args().times
    counts, failed = Counter(), False
    for what, files, scale in (("mutations", MUTATIONS, times), ("kills", KILLS, max(2, times // 2))):
        started = time.monotonic()
        with tempfile.NamedTemporaryFile() as file:
            told = {**os.environ, "ABLATIONS_SOAK": str(scale), "ABLATIONS_SOAK_COUNTS": file.name}
            command = [sys.executable, "-m", "pytest", "-q", *(str(TESTS / name) for name in files)]
            failed |= subprocess.run(command, env=told).returncode != 0
            for line in Path(file.name).read_text().splitlines():
                counts.update(json.loads(line))
        print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)
    print("\n| survived | times |\n|:---|---:|")
    for what, count in counts.items():
        print(f"| {what} | {count:,} |")
    print(flush=True)
    over = many_runs.main([1000, 4000, 10000], epochs=10)
    print("\nThe same of runs 100 times as long:\n")
    many_runs.main([200], epochs=10)
    many_runs.main([200], epochs=1000)
    print("\nA TEST HAS FAILED, see above" if failed else "\nEvery test passed.")
    print("\n".join(over) or "10,000 runs cost no more than they are meant to.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
