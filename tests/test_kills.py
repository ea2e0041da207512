"""SIGKILL to Snakemake and all of its jobs at random moments: the same command goes on, and the tables are those of an
undisturbed run, to the bit but for times.

ABLATIONS_SOAK=10 python -m pytest tests/test_kills.py    20 kills, of the suite `smoke` instead of a smaller one
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import pandas as pd
from conftest import SOAK, TINY, environment, small_depth, snakemake, snakemake_command, tally, write
from pandas.testing import assert_frame_equal

from ablations.collect import read_table

KILLS = 2 * SOAK
SUITE = "smoke" if SOAK > 1 else "tiny"
# What depends on the clock and on what else the process held.
TIMES = ["images_per_second", "milliseconds_per_step", "seconds", "seconds_to_target", "peak_memory_mb"]


def table(folder, name: str) -> pd.DataFrame:
    found = read_table(folder / "results" / SUITE / "depth" / f"{name}.csv")
    return found.drop(columns=[column for column in TIMES if column in found])


def weights(folder) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("results/runs/*/weights.safetensors")}


def all_of(session: int) -> list[int]:
    """The processes of a session."""
    found = subprocess.run(["ps", "-s", str(session), "-o", "pid="], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def test_killed_at_random_moments_the_suite_ends_with_the_same_numbers(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        write(folder / "my" / "suites" / "tiny.yaml", TINY.format(seeds=2))
        if SUITE == "tiny":
            write(folder / "my" / "studies" / "depth.yaml", small_depth())
    suite = ("--config", f"suite={SUITE}", "extra=my")
    started = time.monotonic()
    snakemake(*suite, folder=undisturbed)
    whole = time.monotonic() - started

    chance, kills = random.Random(0), 0
    while kills < KILLS:
        with (killed / "log").open("a") as log:
            process = subprocess.Popen(
                snakemake_command(*suite),
                cwd=killed,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            process.wait(chance.uniform(0.05, 0.7) * whole)
        except subprocess.TimeoutExpired:
            for each in all_of(process.pid):
                os.kill(each, signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # it came to its end: what follows is killed from the start again
            assert process.returncode == 0, (killed / "log").read_text()[-5000:]
            for folder in ("results", "report"):
                shutil.rmtree(killed / folder)
    tally("kills survived", kills)

    output = snakemake(*suite, folder=killed)
    assert "Traceback" not in output
    assert "Traceback" not in (killed / "log").read_text()
    for name in ("runs", "history"):
        assert_frame_equal(table(killed, name), table(undisturbed, name), check_exact=True)
    assert weights(killed) == weights(undisturbed)
    assert (killed / "report" / SUITE / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "Nothing to be done" in snakemake(*suite, folder=killed)
