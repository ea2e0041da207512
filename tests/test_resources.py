"""What jobs take and ask for: the model against runs whose times are made up, the table, the command that writes it,
and Snakemake that reads it."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, snakemake, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import data, estimates, gpus, layout, resources
from ablations.cli import main
from ablations.config import Dataset, Library, Recipe
from ablations.cost import Cost
from ablations.data import Header, Images, Prepared
from ablations.errors import UserError
from ablations.estimates import Costs, Device, Past, careful_pace, device, estimate, fitted, guess, past_runs
from ablations.networks import ResNet
from ablations.plan import Arm, Job, Run, make_plan
from ablations.resources import Estimate
from ablations.store import Store, snapshot_epochs

DATASET = Dataset(title="noise", source="digits", validation=20, test=20)
RECIPE = {"epochs": 3, "batch_size": 10, "learning_rate": 0.1}
COST = Cost(macs=1_000_000, norm_ops=10, parameters=50_000, activations=2_000)
PAST = Past("a", "cpu", "chip", "fp32", when=1.0, macs=1e8, seconds=0.1, peak_ratio=1.0)
positive = st.floats(1e-3, 1e3)


def arm(depth: int = 8, **recipe: object) -> Arm:
    return Arm(ResNet(depth=depth), Recipe(**{**RECIPE, **recipe}), DATASET, "noise")


@pytest.fixture
def prepared(workspace) -> Header:
    """The data of `arm`: 100 training images of noise."""
    random = np.random.default_rng(0)
    parts = [
        Images(random.integers(0, 256, (size, 1, 8, 8), dtype=np.uint8), np.zeros(size, np.int64))
        for size in (100, 20, 20)
    ]
    path = layout.data(arm().data_key)
    path.parent.mkdir(parents=True)
    data.write(Prepared(*parts, ("a", "b"), (0.5,), (0.3,), "fingerprint"), path)
    return data.read_header(path)


def store_run(run: Run, seconds: float, peak: float = 700.0, **where: object) -> None:
    """Put a run into the store as if it had taken so long."""
    metrics = {"status": "finished", "epochs_trained": 3, "seconds": seconds, "peak_memory_mb": peak}
    there = {"device": "chip", "device_type": "cpu", "threads": 1, "at_once": 1, **where}
    Store(layout.RESULTS).save(run, metrics, [{"epoch": 1}], b"weights", there)


# ------------------------------------------------------------------------------------------ the pace


@settings(deadline=None)
@given(
    st.lists(st.floats(1e3, 1e12), min_size=2, max_size=8, unique_by=lambda macs: round(math.log(macs), 1)),
    st.floats(0.05, 0.95),
    positive,
)
def test_a_power_law_is_found_and_both_ends_are_careful(sizes, slope, scale):
    low, high = min(sizes), max(sizes)
    law = lambda macs: scale * (macs / low) ** slope  # noqa: E731
    pace = fitted([(macs, law(macs)) for macs in sizes])
    for macs in (*sizes, math.sqrt(low * high)):
        assert pace(macs) == pytest.approx(law(macs), rel=1e-6)
    assert pace(low / 50) == pytest.approx(law(low), rel=1e-6)  # as long as the smallest
    assert pace(50 * high) == pytest.approx(50 * law(high), rel=1e-6)  # at the pace of the largest


@settings(deadline=None)
@given(st.floats(1e3, 1e9), positive, st.floats(1, 1e6))
def test_one_arm_gives_its_time_below_and_its_pace_above(macs, seconds, factor):
    pace = fitted([(macs, seconds)])
    assert pace(macs / factor) == pytest.approx(seconds)
    assert pace(macs * factor) == pytest.approx(seconds * factor)


@pytest.mark.parametrize(("power", "slope"), [(-0.5, 0.0), (1.7, 1.0)])
def test_a_line_that_makes_no_sense_is_straightened(power, slope):
    points = [(macs, (macs / 1e6) ** power) for macs in (1e6, 1e7, 1e8)]
    pace = fitted(points)
    assert pace.slope == slope and pace(1e7) == pytest.approx(10**power)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_without_past_runs_the_careful_values(kind):
    seconds, pace = estimates.CAREFUL[kind]
    assert careful_pace(kind)(1.0) == seconds
    assert careful_pace(kind)(1e14) == pytest.approx(1e14 / pace)


# ------------------------------------------------------------------------------------------ the device


def line(count: int, **fields: object) -> list[Past]:
    """Arms whose steps take the square root of their size."""
    return [
        replace(PAST, arm=f"arm-{n}", macs=10.0 ** (6 + n), seconds=10.0 ** (n / 2), **fields)
        for n in range(count)
    ]


def test_the_error_of_the_estimates_leaves_each_arm_out():
    on = Device("cpu", "chip", tuple(line(4)))
    time, memory = on.errors
    # The outer two are met with the careful ends: three times as long, and three times too short.
    ends = 10**0.5
    assert time == pytest.approx(100 * np.median([ends - 1, 0, 0, ends - 1]))
    assert memory == 0
    assert "4 past runs of 4 arms on chip; an arm left out" in str(on)
    assert Device("cpu", "chip", (PAST,)).errors is None
    assert str(Device("cpu", "chip", (PAST,))) == "1 past run of 1 arm on chip"
    assert str(Device("cuda")).startswith("careful values for a GPU, without past runs: 1e+12 MACs/s")


def test_an_arm_with_past_runs_takes_what_they_took():
    own = [replace(PAST, arm="own", seconds=seconds, peak_ratio=seconds) for seconds in (1.0, 5.0, 3.0)]
    on = Device("cpu", "chip", (*line(3), *own))
    assert on.seconds("own", "fp32", 1e7) == 3.0 and on.peak_ratio("own") == 3.0
    assert on.seconds("new", "fp32", 1e7) != 3.0 and on.peak_ratio("new") == 1.0
    assert on.seconds("new", "bf16", 1e7) == careful_pace("cpu")(1e7)  # never seen


def test_the_device_is_that_of_the_newest_run(monkeypatch):
    past = [
        replace(PAST, device="old", when=1.0),
        replace(PAST, device="new", when=3.0),
        replace(PAST, device="card", kind="cuda", when=2.0),
    ]
    assert device(past).device == "new" and len(device(past).past) == 1
    assert device(past, "cuda").device == "card"
    assert device(past[:2], "cuda") == Device("cuda")
    for count, kind in ((0, "cpu"), (2, "cuda")):
        monkeypatch.setattr(gpus, "visible", lambda count=count: count)
        assert device([]) == Device(kind)


# ------------------------------------------------------------------------------------------ past runs


def test_past_runs_are_read_from_the_store(prepared):
    run = Run(arm(), 0, "fingerprint")
    store_run(run, seconds=3.0)
    store_run(Run(arm(depth=14), 0, "fingerprint"), seconds=3.0)  # nobody has counted it
    store_run(Run(arm(learning_rate=0.2), 0, "other data"), seconds=3.0)
    store_run(Run(arm(), 1, "fingerprint"), seconds=3.0, threads=2)
    store_run(Run(arm(), 2, "fingerprint"), seconds=3.0)
    (Store(layout.RESULTS).folder / Run(arm(), 2, "fingerprint").id / "metrics.json").write_text("{")
    store_run(Run(arm(), 3, "fingerprint"), seconds=6.0, device="card", device_type="cuda", at_once=2)
    costs = Costs()
    costs.known = {each.id: COST for each in (arm(), arm(learning_rate=0.2))}
    on_processor, on_gpu = sorted(past_runs(costs), key=lambda past: past.kind)
    assert (on_processor.arm, on_processor.device, on_processor.precision) == (arm().id, "chip", "fp32")
    assert on_processor.macs == 3 * COST.macs * 10
    assert on_processor.seconds == pytest.approx(3.0 / 30)  # 3 epochs of 10 steps
    assert on_gpu.seconds == pytest.approx(6.0 / 30 / 2)  # two runs shared the device
    images, tensors = 140 * 64 / 1e6, 4e-6 * (4 * 2_000 * 10 + 5 * 50_000)
    assert on_processor.peak_ratio == pytest.approx(700 / (750 + images + tensors))
    assert on_gpu.peak_ratio == pytest.approx(700 / (images + 2 * tensors))


def test_what_a_job_takes(prepared):
    job = Job(arm(epochs=4), 0, (0, 1, 2), snapshots=True)
    found = estimate(job, COST, prepared, Device("cpu"))
    assert found.seconds == pytest.approx(4 * 10 * 0.01) and found.runs == 3 and found.gpu_memory_mb is None
    assert found.disk_mb == pytest.approx(3 * 0.2 + 0.05)  # weights, and after 1 and 2 epochs
    assert len(snapshot_epochs(4)) == 2
    alone, gpu = found.memory_mb, estimate(job, COST, prepared, Device("cuda"))
    images = 140 * 64 / 1e6
    assert gpu.memory_mb == pytest.approx(4000 + images)
    assert gpu.gpu_memory_mb == pytest.approx(images + 3 * (alone - 750 - images))  # three runs at once


@pytest.mark.parametrize("depth", [20, 56])
def test_the_guess_is_near_for_the_networks_it_is_made_of(depth):
    """MACs, parameters and activations as in He et al. 2015, table 6, and counted in test_cost.py."""
    header = Header("", {"train": 45_000, "validation": 5_000, "test": 10_000}, (3, 32, 32), 10)
    found = guess(Job(arm(depth=depth), 0, (0,)), "cpu", header)
    macs, parameters = {20: (40.55e6, 0.27e6), 56: (125.49e6, 0.85e6)}[depth]
    assert found.cost.macs == pytest.approx(macs, rel=0.1)
    assert found.cost.parameters == pytest.approx(parameters, rel=0.1)
    assert guess(Job(arm(), 0, (0,)), "cpu", None).seconds > 0  # before the data are there


# ------------------------------------------------------------------------------------------ the table


names = st.text("abcdef0123456789", min_size=1, max_size=16).map(lambda name: f"{name}-0")
numbers = st.floats(0, 1e6)
rows = st.builds(
    Estimate,
    job=names,
    network=st.text(st.characters(categories=["L", "N"]), min_size=1),
    runs=st.integers(1, 100),
    startup=numbers,
    seconds=numbers,
    memory_mb=numbers,
    gpu_memory_mb=st.none() | numbers,
    disk_mb=numbers,
    device=st.sampled_from(["Intel(R) Xeon(R), 2 of them", 'A "100"']),
    cost=st.builds(Cost, *[st.integers(0, 10**12)] * 4),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(rows, min_size=1, unique_by=lambda row: row.job))
def test_what_is_written_is_read(tmp_path_factory, found):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("table"))
        first, rest = {found[0].job: found[0]}, {row.job: row for row in found[1:]}
        resources.write("mine", first)
        if rest:
            resources.write("mine", rest)  # the first one stays
        assert resources.read("mine") == {**first, **rest}
        assert set(resources.read_costs()) == {row.job.removesuffix("-0") for row in found}


@settings(deadline=None)
@given(rows)
def test_more_is_asked_for_than_is_expected(row):
    assert row.mem_mb >= max(2000, 1.5 * row.memory_mb) and row.mem_mb % 100 == 0
    assert row.mem_mb <= max(2000, 1.5 * row.memory_mb + 100)
    expected = 2 * (row.startup + row.runs * row.seconds) / 60
    assert max(10, expected) <= row.runtime <= max(10, expected + 1)


@pytest.mark.parametrize("text", ["job,runs\na,1\n", "nonsense", "job,network\n\x00", "\xff\xfe"])
def test_a_table_that_is_none_is_told(workspace, text):
    assert resources.read("mine") == {}
    path = write(layout.resources("mine"), "")
    path.write_bytes(text.encode("latin-1") + b"\n" * 2 + b"x")
    with pytest.raises(UserError, match=r"results/mine/resources.csv: damaged; delete it"):
        resources.read("mine")


def test_reading_it_imports_nothing_heavy():
    code = (
        "import sys; from ablations import resources; resources.read('none');"
        "print(*{'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ------------------------------------------------------------------------------------------ the commands


@pytest.fixture
def tiny(workspace):
    """A suite of two networks with two seeds each."""
    write(workspace / "my" / "suites" / "tiny.yaml", TINY.format(seeds=2))
    return make_plan(Library("my"), "tiny")


OWN = ("--suite", "tiny", "--extra", "my")


def test_the_command_estimates_and_writes(tiny, monkeypatch, capsys):
    assert main(["plan", "--resources", *OWN]) == 2
    assert (
        "not there yet, and estimates need its size; make it with: ablations prepare"
        in capsys.readouterr().err
    )

    assert main(["prepare", *OWN]) == 0
    assert main(["plan", *OWN]) == 0 and "MACs, no run yet to tell the pace" in capsys.readouterr().out
    assert main(["plan", "--resources", "--device", "cpu", *OWN]) == 0
    told = capsys.readouterr().out
    assert "4 runs left: 1" in told and "From careful values for a processor, without past runs" in told
    written = resources.read("tiny")
    assert set(written) == {job.name for job in tiny.jobs_of("depth")}
    assert all(row.runs == 2 and row.mem_mb == 2000 and row.runtime == 10 for row in written.values())

    # What is counted is not counted again; what is trained is the base of the next estimate.
    monkeypatch.setattr(estimates, "count", None)
    assert main(["train", "depth", "shortcut=none", *OWN]) == 0
    assert main(["plan", "--resources", *OWN]) == 0
    told = capsys.readouterr().out
    assert "2 runs left" in told and "From 2 past runs of 1 arm on " in told
    trained, new = (resources.read("tiny")[job.name] for job in tiny.jobs_of("depth"))
    seconds = [json.loads(path.read_text())["seconds"] for path in layout.RESULTS.glob("runs/*/metrics.json")]
    assert [trained.seconds, new.seconds] == pytest.approx([np.mean(seconds)] * 2)  # of as many MACs


def test_jobs_ask_for_it_and_are_not_done_again_when_it_changes(tiny, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job, here = tiny.jobs_of("depth")[0], Path.cwd()
    table = layout.arm_table("tiny", job.name)
    arguments = (str(table), "--benchmark-extended", "--config", "suite=tiny", "extra=my")

    def asked() -> tuple[int, int]:
        benchmark = pd.read_csv(layout.benchmarks("tiny") / "train" / f"{job.name}.tsv", sep="\t")
        found = ast.literal_eval(benchmark["resources"][0])
        return found["mem_mb"], found["runtime"]

    snakemake(*arguments, folder=here)
    assert asked() == (2000, 240)
    resources.write(
        "tiny", {job.name: Estimate(job.name, "net", 2, 0.0, 900.0, 2000.0, None, 1.0, "chip", COST)}
    )
    assert "Nothing to be done" in snakemake(*arguments, folder=here)
    table.unlink()
    snakemake(*arguments, folder=here)
    assert asked() == (3000, 60)
