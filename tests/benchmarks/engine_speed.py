"""Training images a second of the engine beside the loop that most repositories ship; see `ablations bench --help`.

python tests/benchmarks/engine_speed.py --repeats 3
"""

from __future__ import annotations

import sys

from ablations.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["bench", *sys.argv[1:]]))
