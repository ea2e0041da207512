"""The split of a suite's wall time, on files made up to the second."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write

from ablations import layout
from ablations.config import Library
from ablations.errors import UserError
from ablations.plan import make_plan
from ablations.timing import merged, timing

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
BEGIN = 1_800_000_000  # seconds since 1970; what follows counts from here


@pytest.fixture
def plan(workspace):
    """A plan of several training jobs, of which nothing has run."""
    return make_plan(Library(None), "smoke")


def stamped(path: Path, text: str, end: float) -> None:
    """A file that was written at `end`."""
    write(path, text)
    os.utime(path, (BEGIN + end, BEGIN + end))


def ran(rule: str, name: str, start: float, end: float) -> None:
    """A job's benchmark file as Snakemake writes it; NA is what it could not measure."""
    path = (
        layout.data_benchmark(name)
        if rule == "prepare"
        else layout.benchmarks("smoke") / rule / f"{name}.tsv"
    )
    stamped(path, f"{HEADER}{end - start:.2f}\t0:00:00" + 8 * "\tNA" + "\n", end)


def trained(
    plan, number: int, start: float, end: float, *runs: tuple[str, float, float], threads: int = 1
) -> None:
    """A training job of the plan with its table; of each run the id, its seconds and when it was stored."""
    name = list(plan.jobs)[number]
    ran("train", name, start, end)
    rows = "".join(f"{run},{seconds},{threads}\n" for run, seconds, _ in runs)
    write(layout.arm_table("smoke", name), f"run,seconds,threads\n{rows}")
    for run, _, stored in runs:
        stamped(layout.RESULTS / "runs" / run / "metrics.json", "{}", stored)


def parts() -> dict[str, tuple[float, float, str, str]]:
    """Core seconds, share, jobs and runs of each part, as they are written down."""
    with layout.timing("smoke").open(newline="") as file:
        return {
            row["part"]: (float(row["core_seconds"]), float(row["share"]), row["jobs"], row["runs"])
            for row in csv.DictReader(file)
        }


def test_two_jobs_side_by_side(plan):
    trained(plan, 0, 0, 10, ("a0", 3, 5), ("a1", 4, 9.5))
    trained(plan, 1, 0, 8, ("b0", 5, 7))
    ran("collect", "depth", 10, 12)
    text = timing(plan)
    assert parts() == {
        "training": (12, 50, "2", "3"),
        "start-up": (6, 25, "2", ""),
        "mechanisms": (0, 0, "0", ""),
        "tables, figures, report": (2, pytest.approx(100 / 12), "1", ""),
        "scheduling": (4, pytest.approx(100 / 6), "", ""),
        "whole": (24, 100, "3", "3"),
    }
    assert "Suite smoke: 12 s on 2 cores, in 1 invocation of Snakemake." in text
    assert "| scheduling              |          4.0 |  16.7 % |       |       |" in text
    assert "Start-up of a training job: 3.00 s on average." in text
    name, job = next(iter(plan.jobs.items()))
    assert f"Longest jobs: train {job.arm.name} {name} 10.0 s, train" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_cores_that_never_had_a_job(plan):
    trained(plan, 0, 0, 10, ("a0", 6, 9))
    assert "on 1 core, in" in timing(plan) and parts()["scheduling"][0] == 0
    assert "on 4 cores, in" in timing(plan, cores=4)
    assert parts()["scheduling"][0] == 30 and parts()["whole"][0] == 40
    trained(plan, 1, 4, 8, ("b0", 3, 7))
    with pytest.raises(UserError, match="--cores: found 1; 2 were in use at a time, give 2 or more"):
        timing(plan, cores=1)


def test_a_job_that_found_all_its_runs_is_start_up_only(plan):
    trained(plan, 0, 0, 10, ("a0", 6, 9))
    # The second one's runs were stored long before; the third found one and trained one.
    trained(plan, 1, 10, 13, ("b0", 5, -1000), ("b1", 5, -990))
    trained(plan, 2, 13, 20, ("c0", 5, -980), ("c1", 2, 19))
    timing(plan)
    assert parts()["training"] == (8, 40, "2", "2")
    assert parts()["start-up"] == (12, 60, "3", "")


def test_a_pause_between_invocations_does_not_count(plan):
    ran("prepare", next(iter(plan.datasets)), 0, 2)
    trained(plan, 0, 2, 10, ("a0", 6, 9))
    trained(plan, 1, 6, 10, ("b0", 1, 9))
    # Waiting for 30 s is scheduling, waiting for longer is a pause.
    trained(plan, 2, 40, 50, ("c0", 6, 49))
    ran("report", "report", 81, 85)
    assert "in 2 invocations of Snakemake. Pauses in which nothing ran for more than 30 s do" in timing(plan)
    assert parts()["whole"][0] == 2 * (50 + 4)
    assert parts()["tables, figures, report"][0] == 6
    assert parts()["scheduling"][0] == 108 - 8 - 4 - 10 - 6


def test_a_resumed_run_and_runs_side_by_side_count_once(plan):
    # 60 s of the run lie in jobs that were killed before.
    trained(plan, 0, 0, 10, ("a0", 66, 9))
    # Both trained from 12 to 18, the second until 19.
    trained(plan, 1, 10, 20, ("b0", 6, 18), ("b1", 7, 19))
    timing(plan)
    assert parts()["training"][0] == 9 + 7 and parts()["start-up"][0] == 1 + 3


def test_threads_of_a_job_are_cores(plan):
    trained(plan, 0, 0, 10, ("a0", 6, 9), threads=2)
    trained(plan, 1, 10, 14, ("b0", 1, 13))
    timing(plan)
    assert parts()["training"][0] == 2 * 6 + 1 and parts()["start-up"][0] == 2 * 4 + 3
    assert parts()["whole"][0] == 2 * 14 and parts()["scheduling"][0] == 4


def test_mechanisms_stand_beside_the_training_of_their_study(plan):
    """Of a job that found its run trained, too: the share is of the runs' own seconds, not of this invocation's."""
    study = next(iter(plan.studies))
    arms = {arm.id for arm in plan.study(study).arms.values()}
    ours = [number for number, job in enumerate(plan.jobs.values()) if job.arm.id in arms]
    other = next(number for number, job in enumerate(plan.jobs.values()) if job.arm.id not in arms)
    trained(plan, ours[0], 0, 10, ("a0", 6, 9))
    trained(plan, ours[1], 10, 13, ("b0", 14, -1000))
    trained(plan, other, 13, 20, ("c0", 5, 19))
    ran("diagnose", study, 20, 22)
    ran("diagnose", "another", 22, 23)  # a study that the suite had once
    ran("collect", study, 23, 24)
    text = timing(plan)
    assert parts()["mechanisms"] == (3, 12.5, "2", "") and parts()["tables, figures, report"][2] == "1"
    assert parts()["scheduling"][0] == 0
    assert text.endswith(f"training of the study's runs: {study} 2.0 s (10.0 % of the 20.0 s).")


def test_what_is_not_of_the_plan_is_left_out(plan):
    trained(plan, 0, 0, 10, ("a0", 6, 9))
    ran("train", "0123456789abcdef-0", 0, 10)  # an arm that the suite had once
    ran("prepare", "another-01234567", 0, 10)
    timing(plan)
    assert parts()["whole"] == (10, 100, "1", "1")


def test_what_is_not_there_is_told(plan):
    with pytest.raises(
        UserError, match=r"no benchmark files yet.* snakemake --cores all --config suite=smoke"
    ):
        timing(plan)
    trained(plan, 0, 0, 10, ("a0", 6, 9))
    name = next(iter(plan.jobs))
    (layout.RESULTS / "runs" / "a0" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"runs/a0/metrics\.json: missing"):
        timing(plan)
    layout.arm_table("smoke", name).unlink()
    with pytest.raises(UserError, match=rf"arms/{name}\.csv: missing"):
        timing(plan)
    for text in ("", HEADER, HEADER + "-\n", "seconds\n1\n"):
        stamped(layout.benchmarks("smoke") / "train" / f"{name}.tsv", text, 10)
        with pytest.raises(UserError, match=rf"train/{name}\.tsv: damaged"):
            timing(plan)


def test_merged_spans():
    assert merged([]) == []
    assert merged([(4, 5), (0, 3), (1, 2), (2, 4)]) == [(0, 5)]
    assert merged([(0, 1), (3, 4), (7, 8)], gap=2) == [(0, 4), (7, 8)]


def test_neither_torch_nor_pandas():
    code = "import sys, ablations.timing; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
