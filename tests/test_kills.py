"""SIGKILL to Snakemake and all of its jobs at random moments: the same command goes on, and the tables are those of an
undisturbed run, to the bit but for times. Every second kill comes as soon as a run is under way, which is asked to end
first, as clusters do, and leaves a checkpoint: the first that is due by time comes after the end of runs as short.

ABLATIONS_SOAK=10 python -m pytest tests/test_kills.py    20 kills, of the suite `smoke` instead of a smaller one
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
from conftest import SOAK, TINY, environment, small_depth, snakemake, snakemake_command, tally, write
from pandas.testing import assert_frame_equal

from ablations.collect import read_table
from ablations.store import GENERATIONS

KILLS = 2 * SOAK
TRAINING = "-m ablations train"
SUITE = "smoke" if SOAK > 1 else "tiny"
# What depends on the clock and on what else the process held.
TIMES = ["images_per_second", "milliseconds_per_step", "seconds", "seconds_to_target", "peak_memory_mb"]


def table(folder, name: str) -> pd.DataFrame:
    found = read_table(folder / "results" / SUITE / "depth" / f"{name}.csv")
    return found.drop(columns=[column for column in TIMES if column in found])


def weights(folder) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("results/runs/*/weights.safetensors")}


def processes(session: int) -> dict[int, str]:
    """The command lines of the processes of a session, by their numbers."""
    found = subprocess.run(["ps", "-s", str(session), "-o", "pid=,args="], capture_output=True, text=True)
    return {
        int(pid): command for pid, command in (line.split(maxsplit=1) for line in found.stdout.splitlines())
    }


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def under_way(folder: Path, since: float) -> bool:
    """Whether a run that was begun after a moment has trained for an epoch."""
    logs = folder.glob("results/*/logs/train/*.log")
    return any("epoch" in log.read_text() for log in logs if log.stat().st_mtime > since)


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

    chance, kills, checkpoints = random.Random(0), 0, 0
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
        began, moment = time.time(), chance.uniform(0.05, 0.7) * whole
        while process.poll() is None and time.time() - began < moment:
            if kills % 2 and under_way(killed, since=began):
                training = [pid for pid, command in processes(process.pid).items() if TRAINING in command]
                send(signal.SIGTERM, training)
                time.sleep(0.2)
                break
            time.sleep(0.02)
        if process.poll() is None:
            send(signal.SIGKILL, processes(process.pid))
            process.wait()
            kills += 1
            checkpoints += any(killed.glob(f"results/runs/*/{GENERATIONS[0]}"))
        else:  # it came to its end: what follows is killed from the start again
            assert process.returncode == 0, (killed / "log").read_text()[-5000:]
            for folder in ("results", "report"):
                shutil.rmtree(killed / folder)

    output = snakemake(*suite, folder=killed)
    assert "Traceback" not in output
    assert "Traceback" not in (killed / "log").read_text()
    for name in ("runs", "history"):
        assert_frame_equal(table(killed, name), table(undisturbed, name), check_exact=True)
    assert weights(killed) == weights(undisturbed)
    assert (killed / "report" / SUITE / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "Nothing to be done" in snakemake(*suite, folder=killed)
    assert checkpoints or KILLS < 20  # few may come where no run is under way
    tally("kills survived", kills)
    tally("- of them with checkpoints left", checkpoints)
