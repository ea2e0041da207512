"""How long Snakemake takes to parse and to plan as the number of runs grows, each run a job of its own.

python tests/benchmarks/plan_size.py 100 1000 10000
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

SUITE = """
title: many runs
data: digits
seeds: {seeds}
seeds_per_job: 1
recipe: {{epochs: 1, batch_size: 64, learning_rate: 0.05}}
studies: {{depth: {{levels: {{depth: {depths}}}}}}}
"""


def main(sizes: list[int]) -> None:
    print("| runs | dry run (s) |\n|---:|---:|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            suites = Path(folder) / "my" / "suites"
            suites.mkdir(parents=True)
            depths = [6 * n + 2 for n in range(1, size // 10 + 1)]  # x 2 shortcuts x 5 seeds
            (suites / "many.yaml").write_text(SUITE.format(seeds=5, depths=depths))
            command = [
                sys.executable,
                "-m",
                "snakemake",
                "--snakefile",
                str(ROOT / "Snakefile"),
                "-n",
                "--quiet",
            ]
            started = time.perf_counter()
            subprocess.run(
                [*command, "--config", "suite=many", "extra=my"], cwd=folder, check=True, capture_output=True
            )
            print(f"| {size:,} | {time.perf_counter() - started:.1f} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [100, 1000])
