"""A training process that a cluster takes away: Snakemake runs its job again, and the run ends as if nothing had
happened."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, TINY, environment, snakemake, snakemake_command, write
from test_checkpoint import numbers

from ablations.config import Library
from ablations.plan import Job, make_plan

OWN = ("--config", "suite=tiny", "extra=my")
EPOCHS = 100  # four seconds; the signal comes within the first
DEADLINE = 120.0


def suite(folder: Path) -> Job:
    """A suite with one short run a job; the first of its jobs."""
    recipe = TINY.format(seeds=1).replace("epochs: 1,", f"epochs: {EPOCHS},")
    write(folder / "my" / "suites" / "tiny.yaml", recipe)
    return make_plan(Library(str(folder / "my")), "tiny").jobs_of("depth")[0]


def table(job: Job) -> str:
    """What the job makes, as a target for Snakemake."""
    return f"results/tiny/arms/{job.name}.csv"


def data(job: Job) -> str:
    """What the job needs."""
    return f"results/data/{job.arm.data_key}.safetensors"


def wait_for(found: Callable[[], object], snakemake: subprocess.Popen) -> object:
    """What `found` finds, as soon as there is something, while Snakemake runs."""
    end = time.monotonic() + DEADLINE
    while not (result := found()):
        assert snakemake.poll() is None, "Snakemake has ended"
        assert time.monotonic() < end, "nothing found in time"
        time.sleep(0.01)
    return result


def training_of(process: subprocess.Popen) -> psutil.Process | None:
    """The training process below Snakemake, where there is one."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[1:4] == ["-m", "ablations", "train"]:
                return child
        except psutil.Error:  # it has just ended
            continue
    return None


def log_of(folder: Path) -> str:
    """The log of the only training job."""
    logs = list(folder.glob("results/tiny/logs/train/*.log"))
    return logs[0].read_text() if logs else ""


@pytest.fixture
def start():
    """Start Snakemake in a folder, its output in `output` there; ended after the test."""
    processes = []

    def start(*arguments: str, folder: Path) -> subprocess.Popen:
        with (folder / "output").open("w") as output:
            process = subprocess.Popen(
                snakemake_command(*arguments),
                cwd=folder,
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            training = training_of(process)
            process.kill()
            process.wait()
            if training is not None:
                training.kill()


def test_a_preempted_job_is_run_again_and_ends_with_the_same_numbers(tmp_path, start):
    undisturbed, preempted = tmp_path / "undisturbed", tmp_path / "preempted"
    job = suite(undisturbed)
    for words in (("prepare", "--data", job.arm.data_key), ("train", "--job", job.name)):
        command = [sys.executable, "-m", "ablations", *words, "--suite", "tiny", "--extra", "my"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=undisturbed, env=environment, check=True, capture_output=True)
    (preempted / "results").mkdir(parents=True)
    shutil.copytree(undisturbed / "results" / "data", preempted / "results" / "data")

    process = start(table(suite(preempted)), "--benchmark-extended", *OWN, folder=preempted)
    training = wait_for(lambda: training_of(process), process)
    wait_for(lambda: "epoch " in log_of(preempted), process)
    training.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0, (preempted / "output").read_text()

    assert (preempted / "output").read_text().count("Trying to restart job") == 1
    (measured,) = preempted.glob("results/tiny/benchmarks/train/*.tsv")
    assert "'runtime': 480, " in measured.read_text()  # twice what the first attempt asked for
    first = int(re.search(r"epoch +(\d+)/", log_of(preempted))[1])
    assert 1 < first <= EPOCHS  # it went on, in a log of its own
    assert not list(preempted.glob("results/runs/*/checkpoint*"))
    assert numbers(preempted) == numbers(undisturbed)


def test_who_tries_a_failed_job_again(tmp_path):
    """The process that submits, twice; within a cluster's job nobody, or the tries would multiply."""
    job = suite(tmp_path)
    write(tmp_path / "results" / "runs", "no folder")
    asked = ("--config", "suite=tiny", "extra=my")
    output = snakemake(table(job), *asked, folder=tmp_path, check=False)
    assert output.count("Trying to restart job") == 2
    assert "results/runs" in log_of(tmp_path)
    output = snakemake(table(job), "--mode", "remote", *asked, folder=tmp_path, check=False)
    assert "Error in rule train" in output and "Trying to restart job" not in output
