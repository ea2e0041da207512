"""What many runs cost before and after training: parsing and planning by Snakemake, collecting results into a table,
verdicts, figures and report, with stand-in results in the place of training.

python tests/benchmarks/many_runs.py 1000 4000 10000
python tests/benchmarks/many_runs.py --epochs 200 1000     # does it grow with the length of training?
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ablations import layout
from ablations.config import Library
from ablations.data import prepare, read_header
from ablations.plan import Plan, Run, make_plan
from ablations.store import Store

ROOT = Path(__file__).parent.parent.parent
SEEDS = 5  # of an arm, which are a job together
VERBS = ("cost", "collect", "verdicts", "figures", "report")
SHOWN = ("dry run (s)", "the same, a run a job (s)", *(f"{verb} (s)" for verb in VERBS), "memory (MB)")
MEANT = {"dry run (s)": 12, "collect (s)": 20, "memory (MB)": 1000}  # at most, at 10,000 runs

SUITE = """
title: many runs
data: digits
seeds: {seeds}
{cut}
recipe: {{epochs: {epochs}, batch_size: 64, learning_rate: 0.05}}
studies: {{many: {{levels: {{learning_rate: {rates}}}}}}}
"""
STUDY = """
title: Many arms
question: How long do tables, figures and report take?
background: None.
factors:
  shortcut: [none, identity]
  learning_rate: [0.1]
model: {depth: 8}
claims:
  shortcut-helps:
    statement: Shortcuts lower the error.
    kind: less
    metric: test_error
    arm: {shortcut: identity, learning_rate: last}
    than: {shortcut: none, learning_rate: last}
    margin: 0.1
    source: he2015
    published: no figures printed
figures:
  errors: {kind: levels, x: learning_rate, y: [test_error], colour: shortcut, title: Errors}
  curves: {kind: curves, y: [train_error], colour: shortcut, title: Curves}
"""


def define(runs: int, epochs: int, cut: str = "") -> None:
    """A suite of so many runs in my/."""
    for kind in ("suites", "studies"):
        Path("my", kind).mkdir(parents=True, exist_ok=True)
    rates = [round(0.001 * (1 + n), 6) for n in range(runs // (2 * SEEDS))]
    Path("my/suites/many.yaml").write_text(SUITE.format(seeds=SEEDS, epochs=epochs, rates=rates, cut=cut))
    Path("my/studies/many.yaml").write_text(STUDY)


def stand_in(plan: Plan, epochs: int) -> None:
    """Results of every run of the plan, drawn at random."""
    os.fsync = lambda _: None  # nothing here has to survive a power cut
    chance, store = np.random.default_rng(0), Store(layout.RESULTS)
    (arm, *_) = plan.study("many").arms.values()
    prepare(arm.dataset, layout.data(arm.data_key))
    header = read_header(layout.data(arm.data_key))
    where = {
        "device": "stand-in",
        "threads": 1,
        "execution": "none",
        "at_once": 1,
        "torch": "0",
        "python": "0",
    }
    for arm in plan.study("many").arms.values():
        for seed in range(SEEDS):
            errors = np.sort(chance.uniform(2, 60, epochs))[::-1]
            history = [
                {
                    "epoch": epoch + 1, "running_loss": error / 30, "gradient_norm": 1.0,
                    "train_error": error, "train_loss": error / 30,
                    "validation_error": error + 1, "validation_loss": error / 30,
                    "learning_rate": 0.05, "seconds": epoch + 1.0, "images_per_second": 1000.0,
                }
                for epoch, error in enumerate(errors)
            ]  # fmt: skip
            last = {
                name: history[-1][name]
                for name in ("train_error", "train_loss", "validation_error", "validation_loss")
            }
            metrics = {
                "status": "finished", "epoch": None, "step": None, **last,
                "test_error": errors[-1] + 2, "test_loss": 0.3, "sparsity": 0.0, "epochs_trained": epochs,
                "measured_epoch": epochs, "images_per_second": 1000.0, "seconds": float(epochs), "peak_memory_mb": 500.0,
            }  # fmt: skip
            store.save(Run(arm, seed, header.fingerprint), metrics, history, b"weights", where)


def timed(*command: str) -> tuple[float, float]:
    """Seconds and the most memory, in MB, that a command took."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            raise SystemExit(output.read())
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def dry_run() -> tuple[float, float]:
    """The same of Snakemake's parsing and dry run."""
    snakefile = str(ROOT / "Snakefile")
    return timed("snakemake", "--snakefile", snakefile, "-n", "--quiet", "--config", "suite=many", "extra=my")


def measured(size: int, epochs: int) -> dict[str, float]:
    """What so many runs cost, by what it is; printed as a row of a table."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        define(size, epochs, "seeds_per_job: 1")
        found = {"the same, a run a job (s)": dry_run()[0]}
        define(size, epochs)
        found["dry run (s)"], memory = dry_run()
        stand_in(make_plan(Library("my"), "many"), epochs)
        for verb in VERBS:
            arguments = ["report", "many", "--only"] if verb == "report" else [verb, "many"]
            found[f"{verb} (s)"], peak = timed("ablations", *arguments, "--suite", "many", "--extra", "my")
            memory = max(memory, peak)
        os.chdir(ROOT)
    found["memory (MB)"] = memory
    print(f"| {size:,} | {epochs:,} | {' | '.join(f'{found[each]:,.1f}' for each in SHOWN)} |", flush=True)
    return found


def head() -> None:
    """Print the head of the table."""
    print(f"| runs | epochs | {' | '.join(SHOWN)} |")
    print(f"|{'---:|' * (len(SHOWN) + 2)}", flush=True)


def beyond(found: Mapping[str, float]) -> list[str]:
    """What of the cost of 10,000 runs is more than is meant to be, in words."""
    return [
        f"{what}: {found[what]:.0f}, meant to be below {most}"
        for what, most in MEANT.items()
        if found[what] >= most
    ]


def growing(
    few: Mapping[str, float], many: Mapping[str, float], times: float, whats: Iterable[str]
) -> list[str]:
    """What of the cost grows by more than so many times, in words."""
    return [
        f"{what}: {few[what]:.1f} grows to {many[what]:.1f}, meant to be {times:g} times as much at most"
        for what in whats
        if many[what] > times * few[what]
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=int, default=[100, 1000], help="numbers of runs")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each (default: 10)")
    options = parser.parse_args()
    head()
    for size in options.runs:
        measured(size, options.epochs)
