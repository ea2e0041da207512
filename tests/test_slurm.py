"""Training on a Slurm cluster of one node, by the profile that users take."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, small_depth, write
from slurm_node import node, obstacle, slurm_says
from test_checkpoint import timeless
from test_preemption import wait_for

from ablations import resources
from ablations.config import Library
from ablations.cost import Cost
from ablations.plan import Job, make_plan

pytest.importorskip(
    "snakemake_executor_plugin_slurm", reason="no Slurm plugin: pip install 'ablations[slurm]'"
)
if reason := obstacle():
    pytest.skip(f"no Slurm node here: {reason}", allow_module_level=True)

PROFILE = ROOT / "workflow" / "profiles" / "slurm"
EPOCHS = 100  # four seconds; the job is requeued within the first
DEADLINE = 240.0


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    with node(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Start Snakemake with the profile in a folder; ended after the test, its jobs too."""
    monkeypatch.setenv("ABLATIONS_LEASES", str(tmp_path / "leases"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    processes = []

    def submit(*arguments: object, folder: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--profile", PROFILE]
        quickly = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")
        here = ("--slurm-status-command", "squeue", "--slurm-no-account", *quickly)
        environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
        with (folder / "output").open("w") as output:
            process = subprocess.Popen(
                [*map(str, (*command, *here, *arguments)), "--config", "suite=tiny", "extra=my"],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    yield submit
    for process in processes:
        process.kill()
        process.wait()
    slurm_says("scancel", "--user=root")


def suite(folder: Path, epochs: int) -> list[Job]:
    """Two networks of one short run each, a job for each."""
    recipe = TINY.format(seeds=1).replace("epochs: 1,", f"epochs: {epochs},")
    write(folder / "my" / "suites" / "tiny.yaml", recipe)
    return make_plan(Library(str(folder / "my")), "tiny").jobs_of("depth")


def ask(jobs: list[Job], folder: Path, monkeypatch, memory: list[float], minutes: list[float]) -> None:
    """Write down what jobs are to ask for, as estimates of a job of one run."""
    monkeypatch.chdir(folder)
    half = [60 * each / resources.SAFETY_TIME for each in minutes]
    part = [each / resources.SAFETY_MEMORY for each in memory]
    found = {
        job.name: resources.Estimate(
            job.name, "net", 1, 0.0, seconds, mb, None, 1.0, "here", Cost(1, 1, 1, 1)
        )
        for job, seconds, mb in zip(jobs, half, part, strict=True)
    }
    resources.write("tiny", found)


def train_here(folder: Path) -> None:
    """The same runs without Slurm."""
    command = [sys.executable, "-m", "ablations", "train", "depth", "--suite", "tiny", "--extra", "my"]
    subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )


def tables(jobs: list[Job]) -> list[str]:
    return [f"results/tiny/arms/{job.name}.csv" for job in jobs]


def runs(folder: Path) -> dict[str, object]:
    """What each run in a folder measured, and its weights, by its id."""
    return {
        run.name: timeless(
            json.loads((run / "metrics.json").read_text()),
            (run / "history.csv").read_text(),
            (run / "weights.safetensors").read_bytes(),
        )
        for run in folder.glob("results/runs/*")
    }


def in_slurm(folder: Path) -> list[str]:
    """What Slurm tells of each job that was submitted in a folder; it knows those of other tests, too."""
    told = slurm_says("scontrol", "--details", "--oneliner", "show", "job").splitlines()
    return [line for line in told if f" WorkDir={folder} " in line]


def training(jobs: list[Job], folder: Path) -> list[str]:
    """What Slurm tells of some training jobs, in their order; of those that it knows."""
    comments = {value(line, "Comment"): line for line in in_slurm(folder)}
    names = [f"rule_train_wildcards_tiny_{job.name}" for job in jobs]
    return [comments[name] for name in names if name in comments]


def value(told: str, name: str) -> str:
    """A field of what Slurm tells of a job."""
    return re.search(rf"\b{name}=(\S+)", told)[1]


def test_jobs_get_what_they_ask_for_and_a_requeued_one_goes_on(tmp_path, submit, monkeypatch):
    alone, cluster = tmp_path / "alone", tmp_path / "cluster"
    jobs = suite(alone, EPOCHS)
    train_here(alone)
    suite(cluster, EPOCHS)
    shutil.copytree(alone / "results" / "data", cluster / "results" / "data")
    ask(jobs, cluster, monkeypatch, memory=[3100, 2500], minutes=[12, 35])

    process = submit(*tables(jobs), folder=cluster)
    running = wait_for(lambda: both_run(jobs, cluster), process)
    assert [value(told, "MinMemoryNode") for told in running] == ["3100M", "2500M"]
    assert [value(told, "TimeLimit") for told in running] == ["00:12:00", "00:35:00"]
    assert [value(told, "TresPerJob") for told in running] == ["gres:gpu:1"] * 2
    devices = {re.search(r"gpu.*?IDX:(\d)", told)[1] for told in running}
    assert devices == {"0", "1"}  # each has one of its own
    assert [value(told, "Requeue") for told in running] == ["1", "1"]

    log = cluster / "results" / "tiny" / "logs" / "train" / f"{jobs[0].name}.log"
    wait_for(lambda: log.is_file() and "epoch " in log.read_text(), process)
    number = value(running[0], "JobId")
    subprocess.run(["scontrol", "requeue", number], check=True)
    assert process.wait(DEADLINE) == 0, (cluster / "output").read_text()

    told = training(jobs, cluster)[0]
    assert [value(told, name) for name in ("JobId", "Restarts", "JobState")] == [number, "1", "COMPLETED"]
    first = int(re.search(r"epoch +(\d+)/", log.read_text())[1])
    assert 1 < first <= EPOCHS  # it went on, in a log of its own
    assert runs(cluster) == runs(alone)
    leases = {path.name for path in (tmp_path / "leases").glob("slurm-*")}
    assert len({re.fullmatch(r"slurm-\d+-(\d)\.0", name)[1] for name in leases}) == 2


def both_run(jobs: list[Job], folder: Path) -> list[str] | None:
    """What Slurm tells of two jobs, once both run."""
    told = training(jobs, folder)
    return told if [value(each, "JobState") for each in told] == ["RUNNING"] * 2 else None


def test_a_suite_by_arrays_and_groups_where_all_of_an_array_ask_for_what_the_largest_takes(
    tmp_path, submit, monkeypatch
):
    jobs = suite(tmp_path, epochs=1)
    write(tmp_path / "my" / "studies" / "depth.yaml", small_depth())
    train_here(tmp_path)
    ask(jobs, tmp_path, monkeypatch, memory=[2500, 3100], minutes=[35, 12])
    process = submit("--slurm-array-jobs", "train", folder=tmp_path)
    assert process.wait(DEADLINE) == 0, (tmp_path / "output").read_text()
    told = in_slurm(tmp_path)
    tasks = [line for line in told if "ArrayTaskId=" in line]
    assert len(tasks) == 2 and {value(line, "TimeLimit") for line in tasks} == {"00:35:00"}
    assert all(int(value(line, "MinMemoryNode").removesuffix("M")) >= 3100 for line in tasks)
    assert all((tmp_path / table).is_file() for table in tables(jobs))
    # Then a job for the tables and figures of the study, and one each for the two reports.
    others = sorted(value(line, "Comment") for line in told if line not in tasks)
    assert others == ["rule_report_report_verdicts"] * 2 + ["rule_tables_collect_cost_figures"]
    assert (tmp_path / "report" / "tiny" / "report.pdf").is_file()
